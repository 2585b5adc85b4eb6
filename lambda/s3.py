"""Read images from s3://bucket/key with the rights of the function's role, from the buckets that the environment
variable S3_BUCKETS lists (comma-separated). boto3 is part of AWS's base image."""
import os

from request import MAX_BYTES, RequestError


def read(url: str) -> bytes:
    """The object's bytes; RequestError if the bucket is not enabled or S3 refuses."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket or bucket not in [name.strip() for name in os.environ.get("S3_BUCKETS", "").split(",")]:
        raise RequestError(403, "this bucket is not enabled; the server's environment variable S3_BUCKETS lists the "
                                "buckets that are")
    if not key:
        raise RequestError(400, "the URL must be s3://bucket/key")
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise RequestError(502, "s3:// URLs need boto3, which the server does not have") from None
    limits = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    try:
        found = boto3.session.Session().client("s3", config=limits).get_object(Bucket=bucket, Key=key)
        if found["ContentLength"] > MAX_BYTES:
            raise RequestError(413, f"the object is too large; at most {MAX_BYTES // 1_000_000} MB")
        return found["Body"].read()
    except ClientError as error:
        raise RequestError(502, f"S3 answers {error.response['Error']['Code']}") from None
    except BotoCoreError as error:
        raise RequestError(502, f"S3 can't be read ({type(error).__name__})") from None
