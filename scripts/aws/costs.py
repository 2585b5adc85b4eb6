"""Prints what a million predictions cost on AWS: python3 scripts/aws/costs.py Architecture=arm64 Memory=1769

List prices in us-east-1 as of November 2026, in dollars, from the price pages of AWS Lambda, Amazon API Gateway (HTTP
APIs) and Amazon CloudWatch. Data transfer, storage and what AWS gives away each month are left out.
"""
import sys

REQUEST = 0.20  # per million
GB_SECOND = {"x86_64": 16.6667, "arm64": 13.3334}  # per million
# A request with 400 x 533 pixels, large model: between 13.4 ms (AMD EPYC) and 16.6 ms (Intel Xeon), `make bench`.
BILLED_MS = 16


def main() -> None:
    parameters = dict(argument.split("=", 1) for argument in sys.argv[1:])
    memory = int(parameters.get("Memory", 1769))
    parts = {
        "API Gateway": 1.00,  # requests of up to 512 kB
        "Lambda's requests": REQUEST,
        f"{BILLED_MS} ms of {memory} MB": BILLED_MS / 1000 * memory / 1024 * GB_SECOND[parameters["Architecture"]],
        # Per GB; kB: the line with the metrics, Lambda's three, API Gateway's, and 26 bytes for each.
        "logs and metrics": 0.50 * 1.75}
    listed = ", ".join(f"{name} {dollars:.2f}" for name, dollars in parts.items())
    print(f"Cost     about ${sum(parts.values()):.2f} per million predictions: {listed}")


if __name__ == "__main__":
    main()
