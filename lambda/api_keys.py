"""The API keys that POST /predict accepts; the variable API_KEYS holds name:SHA-256,..."""
import hashlib
import hmac
import os

DIGESTS = dict(entry.split(":") for entry in os.environ.get("API_KEYS", "").split(",") if entry)


def holder(key: str) -> str | None:
    """The name that `key` was given to, "anyone" where no key is needed, None for an unknown key."""
    if not DIGESTS:
        return "anyone"
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    # All are compared, in constant time, so that the time taken tells nothing about the keys.
    names = [name for name, expected in DIGESTS.items() if hmac.compare_digest(digest, expected)]
    return names[0] if names else None
