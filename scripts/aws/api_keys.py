"""Adds an API key to the stack's parameter ApiKeys, or withdraws one; run by deploy.sh.

    python3 scripts/aws/api_keys.py "ann:<SHA-256>" --add bob      prints the parameter's new value and bob's key
    python3 scripts/aws/api_keys.py "ann:<SHA-256>" --withdraw ann

Only digests are kept: a key that is lost is replaced by adding its name again. Keys are 192 random bits, so a fast
hash without a salt is enough. CloudFormation checks the names by the parameter's pattern.
"""
import argparse
import hashlib
import secrets
import sys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", help="name:SHA-256,... as the parameter is now")
    parser.add_argument("--add", metavar="NAME")
    parser.add_argument("--withdraw", metavar="NAME")
    args = parser.parse_args()
    keys = dict(entry.split(":") for entry in args.keys.split(",") if entry)
    key = ""
    if args.withdraw and not keys.pop(args.withdraw, None):
        sys.exit(f"error: there is no key {args.withdraw}; there is {', '.join(keys) or 'none'}")
    if args.add:
        key = secrets.token_urlsafe(24)
        keys[args.add] = hashlib.sha256(key.encode()).hexdigest()
    if not keys:
        sys.exit(f"error: {args.withdraw} is the last key; to let everybody in: PARAMETERS=ApiKeys=")
    print(",".join(f"{name}:{digest}" for name, digest in keys.items()), key)


if __name__ == "__main__":
    main()
