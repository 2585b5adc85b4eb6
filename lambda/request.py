"""Find the images in an event of a REST API (v1), an HTTP API or function URL (v2), or a load balancer."""
import base64
import json
import re
from typing import NamedTuple

MAX_BYTES = 10_000_000  # of a body, an image, or the file behind a URL
MAX_IMAGES = 16  # in one request
MAX_PARTS = 100  # of a form
KINDS = {"url": "url", "urls": "url", "image": "base64", "images": "base64"}  # by the key in a JSON object


class RequestError(Exception):
    """A request that is refused: the HTTP status, and a message that users may see."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes


class Images(NamedTuple):
    """The images of a request as they were sent."""
    kind: str  # url or base64, whose values are str; raw or multipart, whose values are bytes
    values: list[str] | list[bytes]
    many: bool = False  # whether they are a list, which is answered by a list


def context_of(event: object) -> dict:
    """What API Gateway says about a request; empty for other events."""
    return _dict(_dict(event).get("requestContext"))


def is_proxy(event: object) -> bool:
    """Whether an event is an HTTP request; any other is a direct invocation, such as {"url": …}."""
    return isinstance(event, dict) and ("httpMethod" in event or "http" in context_of(event))


def parse(event: dict) -> Request:
    """The HTTP request in a proxy event."""
    if "multiValueHeaders" in event and "headers" not in event:
        raise RequestError(400, "switch the multi-value headers of the load balancer's target group off")
    context = context_of(event)
    http = _dict(context.get("http"))  # of HTTP APIs and function URLs
    path = f"{event.get('rawPath') or event.get('path') or ''}/".removeprefix(f"/{context.get('stage')}/")
    headers, query = _dict(event.get("headers")), _dict(event.get("queryStringParameters"))
    body = str(event.get("body") or "")
    if len(body) > MAX_BYTES * (4 / 3 if event.get("isBase64Encoded") else 1):
        raise RequestError(413, f"the body is too large; send at most {MAX_BYTES // 1_000_000} MB")
    return Request(
        method=str(http.get("method") or event.get("httpMethod")).upper(),
        path="/" + path.strip("/").rpartition("/")[2],  # without the base path that a domain may have
        query={name: str(value) for name, value in query.items()},
        headers={str(name).lower(): str(value) for name, value in headers.items()},
        body=decode_base64(body) if event.get("isBase64Encoded") else body.encode("utf-8", "surrogatepass"))


def images_of(request: Request) -> Images:
    """The images in the body of a POST."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    body = request.body
    if not body:
        raise RequestError(400, 'the body is empty; send a photo, or JSON such as {"url": "https://..."}')
    if kind == "multipart/form-data":
        return _multipart(body, parameters)
    if kind.endswith(("/json", "+json")) or body.lstrip()[:1] in (b"{", b"["):  # curl -d names another type
        try:
            return images_in(json.loads(body))
        except (ValueError, RecursionError):
            raise RequestError(400, 'the body is not valid JSON; send for example {"url": "https://..."}') from None
    return Images("raw", [body])


def images_in(value: object) -> Images:
    """The images in {"url": …}, {"image": …}, {"urls": […]} or {"images": […]}."""
    given = [key for key in KINDS if key in _dict(value)]
    key = given[0] if len(given) == 1 else None
    many = key in ("urls", "images")
    items = value[key] if many else [_dict(value).get(key)]
    if not (isinstance(items, list) and 1 <= len(items) <= MAX_IMAGES
            and all(isinstance(item, str) and item for item in items)):
        raise RequestError(400, 'send a JSON object with one of "url", "image" (base64), "urls", "images"; the value '
                                f"is text, or for the last two a list of 1 to {MAX_IMAGES} texts")
    return Images(KINDS[key], items, many)


def decode_base64(text: str) -> bytes:
    """Base64 to bytes, in either alphabet; line breaks, missing padding and a data: prefix are accepted."""
    try:
        return base64.b64decode(text, validate=True)  # the usual case, first: large bodies take milliseconds
    except ValueError:
        pass
    text = text.partition(",")[2] if text.startswith("data:") else text
    text = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise RequestError(400, "the image is not valid base64") from None


def _multipart(body: bytes, parameters: str) -> Images:
    """The photos in a form, as in RFC 7578."""
    boundary = re.search(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', parameters, re.IGNORECASE)
    if not boundary:
        raise RequestError(400, "multipart/form-data needs a boundary; let the client set the Content-Type itself")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode("utf-8", "surrogatepass")
    _, *parts = (b"\r\n" + body).split(delimiter, MAX_PARTS)
    if not parts or not parts.pop().startswith(b"--"):
        raise RequestError(400, f"the form is cut short (without its last boundary) or has over {MAX_PARTS} parts")
    split = [part.partition(b"\r\n\r\n") for part in parts]
    files = [content for head, _, content in split if _is_photo(head)]
    if not 1 <= len(files) <= MAX_IMAGES:
        raise RequestError(400, f"the form has {len(files)} files; send 1 to {MAX_IMAGES}")
    return Images("multipart", files, len(files) > 1)


def _is_photo(head: bytes) -> bool:
    """Whether a part with these headers is a photo: by its file name, else by its type or field name."""
    options = re.IGNORECASE | re.MULTILINE
    if filename := re.search(rb'^content-disposition:.*;\s*filename\*?=("")?', head, options):
        return not filename[1]  # browsers send an empty name if no file was chosen
    return bool(re.search(rb'^content-disposition:.*;\s*name="?image"?\s*(;|$)', head, options)
                or re.search(rb"^content-type:\s*(image/|application/octet-stream)", head, options))


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}
