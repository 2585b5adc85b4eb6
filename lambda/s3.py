"""Read images from S3 with the rights of the function's role, from the buckets that the environment variable
S3_BUCKETS lists (comma-separated). boto3 is part of AWS's base image.
"""
import functools
import os

from request import MAX_BYTES, RequestError

STATUS = {"AccessDenied": 403, "SlowDown": 504, "RequestTimeout": 504, "InternalError": 504, "ServiceUnavailable": 504}


def read_object(bucket: str, key: str, version: str | None = None) -> bytes:
    """The object's bytes. RequestError: 403 the bucket is not enabled or S3 denies access, 504 S3 is busy or slow."""
    if not bucket or bucket not in [name.strip() for name in os.environ.get("S3_BUCKETS", "").split(",")]:
        raise RequestError(403, "this bucket is not enabled; the server's variable S3_BUCKETS lists those that are")
    if not key:
        raise RequestError(400, "the URL must be s3://bucket/key")
    try:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
        client = _client()
    except ImportError:
        raise RequestError(502, "s3:// URLs need boto3, which the server does not have") from None
    try:
        found = client.get_object(Bucket=bucket, Key=key, **{"VersionId": version} if version else {})
        if found["ContentLength"] > MAX_BYTES:
            raise RequestError(413, f"the object is too large; at most {MAX_BYTES // 1_000_000} MB")
        return found["Body"].read()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise RequestError(STATUS.get(code, 502), f"S3 answers {code}") from None
    except BotoCoreError as error:
        status = 504 if isinstance(error, HTTPClientError) else 502
        raise RequestError(status, f"S3 can't be read ({type(error).__name__})") from None


@functools.cache
def _client():
    """The client, made once: that takes longer than to read an object."""
    import boto3
    from botocore.config import Config
    limits = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    return boto3.session.Session().client("s3", config=limits)
