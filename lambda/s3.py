"""Read images from S3 with the rights of the function's role. boto3 is part of AWS's base image."""
import functools
import os

from request import MAX_BYTES, RequestError

STATUS = {403: 403, 500: 504, 503: 504}  # by S3's own status, else 502


def read_object(bucket: str, key: str, version: str | None = None) -> bytes:
    """The object's bytes. RequestError: 403 the bucket is not enabled or S3 denies access, 504 S3 is busy."""
    if not (bucket and key) or bucket not in os.environ.get("S3_BUCKETS", "").replace(" ", "").split(","):
        raise RequestError(403, "the bucket is not enabled; send s3://bucket/key with one in the server's S3_BUCKETS")
    try:
        client = _client()
    except ImportError:
        raise RequestError(502, "s3:// URLs need boto3, which the server does not have") from None
    try:
        found = client.get_object(Bucket=bucket, Key=key, **{"VersionId": version} if version else {})
    except client.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        raise RequestError(STATUS.get(status, 502), f"S3 answers {code}") from None
    if found["ContentLength"] > MAX_BYTES:
        raise RequestError(413, f"the object is too large; at most {MAX_BYTES // 1_000_000} MB")
    return found["Body"].read()


@functools.cache
def _client():
    """The client, made once: that takes longer than to read an object."""
    import boto3
    from botocore.config import Config
    limits = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    return boto3.session.Session().client("s3", config=limits)
