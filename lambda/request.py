"""Read a proxy event and find the images in it. A malformed event raises RequestError.

The events may come from REST APIs (v1), HTTP APIs and function URLs (v2) or Application Load Balancers.
"""
import base64
import json
import re
from typing import NamedTuple

MAX_BYTES = 10_000_000  # of a body, an image, or the file behind a URL
MAX_IMAGES = 16  # in one request
MAX_PARTS = 100  # of a form


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
    body: str | bytes  # bytes if they came as base64


class Source(NamedTuple):
    """An image as it was sent. kind: url, base64 (both with a str) or raw, multipart (both with bytes)."""
    kind: str
    value: str | bytes


def is_proxy(event: object) -> bool:
    """Whether an event is an HTTP request; any other is a direct invocation, such as {"url": …}."""
    return isinstance(event, dict) and ("httpMethod" in event or "http" in _dict(event.get("requestContext")))


def request_id(event: object) -> str | None:
    """API Gateway's id of a request."""
    return _dict(_dict(event).get("requestContext")).get("requestId")


def has_lists_only(event: dict) -> bool:
    """Whether a load balancer sends all headers as lists, and expects the headers of the response as lists too."""
    return "elb" in _dict(event.get("requestContext")) and "multiValueHeaders" in event


def parse(event: dict) -> Request:
    """The HTTP request in a proxy event."""
    context = _dict(event.get("requestContext"))
    http = _dict(context.get("http"))  # v2
    path = event.get("rawPath") if http else event.get("path")
    if http:  # "/prod/predict", but "/predict" in the stage "$default" and under a domain of one's own
        path = f"{path}/".removeprefix(f"/{context.get('stage')}/")
    elif event.get("resource") and "{" not in str(event["resource"]):
        path = event["resource"]  # without the base path of a custom domain, which `path` has
    headers = _last_values(event.get("multiValueHeaders")) | _dict(event.get("headers"))
    query = _last_values(event.get("multiValueQueryStringParameters")) | _dict(event.get("queryStringParameters"))
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise RequestError(400, "the event's body is not text")
    if len(body) > MAX_BYTES * (4 / 3 if event.get("isBase64Encoded") else 1):
        raise RequestError(413, f"the body is too large; send at most {MAX_BYTES // 1_000_000} MB")
    return Request(
        method=str(http.get("method") or event.get("httpMethod")).upper(),
        path="/" + str(path or "").strip("/"),
        query={name: str(value) for name, value in query.items()},
        headers={str(name).lower(): str(value) for name, value in headers.items()},
        body=decode_base64(body) if event.get("isBase64Encoded") else body)


def sources(request: Request) -> tuple[list[Source], bool]:
    """The images in the body of a POST, and whether they came as a list. A list is answered by a list."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    body = request.body
    if not body:
        raise RequestError(400, 'the body is empty; send a photo, or JSON such as {"url": "https://..."}')
    if kind == "application/json" or kind.endswith("+json"):
        return sources_in(_json(body))
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    if kind == "multipart/form-data":
        return _multipart(body, parameters)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [Source("raw", body)], False
    if kind in ("", "text/plain", "application/x-www-form-urlencoded"):  # the last is curl's default
        return sources_in(_json(body)) if body.lstrip()[:1] in b"{[" else ([Source("raw", body)], False)
    raise RequestError(415, f"the content type {kind} is not supported; send image/jpeg (or another image), "
                            "application/json or multipart/form-data")


def sources_in(value: object) -> tuple[list[Source], bool]:
    """The images in {"url": …}, {"image": …}, {"urls": […]} or {"images": […]}."""
    given = [key for key in ("url", "image", "urls", "images") if isinstance(value, dict) and key in value]
    if len(given) != 1:
        raise RequestError(400, 'send a JSON object with one of "url", "image" (base64), "urls", "images"')
    key, many = given[0], given[0].endswith("s")
    items = value[key] if many else [value[key]]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_IMAGES:
        raise RequestError(400, f'"{key}" must be a list of 1 to {MAX_IMAGES}')
    if not all(isinstance(item, str) and item for item in items):
        raise RequestError(400, f'"{key}" must be text' + (" in each place" if many else ""))
    return [Source("url" if key.startswith("url") else "base64", item) for item in items], many


def decode_base64(text: str) -> bytes:
    """Base64 to bytes, in either alphabet; line breaks, missing padding and a data: prefix are accepted."""
    try:
        return base64.b64decode(text, validate=True)  # the usual case comes first, as large bodies take milliseconds
    except ValueError:
        pass
    text = text.partition(",")[2] if text.startswith("data:") else text
    text = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise RequestError(400, "the image is not valid base64") from None


def _json(body: str | bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, 'the body is not valid JSON; send for example {"url": "https://..."}') from None


def _multipart(body: bytes, parameters: str) -> tuple[list[Source], bool]:
    """The photos in a form, as in RFC 7578."""
    boundary = re.search(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', parameters, re.IGNORECASE)
    if not boundary:
        raise RequestError(400, "multipart/form-data needs a boundary; let the client set the Content-Type itself")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode("utf-8", "surrogatepass")
    _, *parts = (b"\r\n" + body).split(delimiter, MAX_PARTS)
    if not parts or not parts.pop().startswith(b"--"):
        raise RequestError(400, f"the form is cut short (its last boundary is missing) or has over {MAX_PARTS} parts")
    files = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        if _is_photo(head):
            files.append(Source("multipart", content))
    if not 1 <= len(files) <= MAX_IMAGES:
        raise RequestError(400, f"the form has {len(files)} files; send 1 to {MAX_IMAGES}, such as "
                                "curl -F image=@photo.jpg")
    return files, len(files) > 1


def _is_photo(head: bytes) -> bool:
    """Whether the part of a form with these headers is a photo: by its file name, else by its type or field name."""
    options = re.IGNORECASE | re.MULTILINE
    if filename := re.search(rb'^content-disposition:.*;\s*filename\*?=("")?', head, options):
        return not filename[1]  # browsers send an empty name if no file was chosen
    return bool(re.search(rb'^content-disposition:.*;\s*name="?image"?\s*(;|$)', head, options)
                or re.search(rb"^content-type:\s*(image/|application/octet-stream)", head, options))


def _last_values(lists: object) -> dict:
    return {name: values[-1] for name, values in _dict(lists).items() if isinstance(values, list) and values}


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}
