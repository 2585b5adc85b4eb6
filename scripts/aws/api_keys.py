"""Prints the parameter ApiKeys with a key added or withdrawn, and the new key: api_keys.py VALUE ADDED WITHDRAWN

    python3 scripts/aws/api_keys.py "ann:<SHA-256>" bob ""     adds a key for Bob; "" ann would withdraw Ann's

Keys are 192 random bits, so a fast hash without a salt is enough.
"""
import hashlib
import secrets
import sys

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
