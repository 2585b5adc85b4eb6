"""Adds an API key to the stack's parameter ApiKeys, or withdraws one; run by deploy.sh.

    python3 scripts/aws/api_keys.py "ann:<SHA-256>" bob ""     adds bob: prints the parameter's new value and bob's key
    python3 scripts/aws/api_keys.py "ann:<SHA-256>" "" ann     withdraws ann's

Only digests are kept: a key that is lost is replaced by adding its name again. Keys are 192 random bits, so a fast
hash without a salt is enough. CloudFormation checks the names by the parameter's pattern.
"""
import hashlib
import secrets
import sys


def main() -> None:
    value, added, withdrawn = sys.argv[1:]
    keys = dict(entry.split(":") for entry in value.split(",") if entry)
    key = ""
    if withdrawn and not keys.pop(withdrawn, None):
        sys.exit(f"error: there is no key {withdrawn}; there is {', '.join(keys) or 'none'}")
    if added:
        key = secrets.token_urlsafe(24)
        keys[added] = hashlib.sha256(key.encode()).hexdigest()
    if not keys:
        sys.exit(f"error: {withdrawn} is the last key; to let everybody in: PARAMETERS=ApiKeys=")
    print(",".join(f"{name}:{digest}" for name, digest in keys.items()), key)


if __name__ == "__main__":
    main()
