"""Known vulnerabilities of the pinned packages; success with a sentence where their index cannot be reached."""

import json
import subprocess
import sys
from pathlib import Path

PINNED = Path(__file__).resolve().parents[1] / "constraints.txt"
SECONDS = 90  # for all packages; a slow index must not hold up a check
AUDIT = [
    *(sys.executable, "-m", "pip_audit", "--requirement", str(PINNED), "--no-deps", "--disable-pip"),
    *("--format", "json", "--progress-spinner", "off", "--timeout", "5"),
]


def main() -> int:
    """The exit status: 1 when a pinned package has a known vulnerability."""
    audited = [package for package in ask() if "vulns" in package]
    if not audited:
        print("audit: skipped, the index of vulnerabilities cannot be reached from here")
        return 0
    bad = [package for package in audited if package["vulns"]]
    for package in bad:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "nowhere yet"
            print(f"audit: {package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    print(f"audit: {len(audited)} packages, {len(bad)} with known vulnerabilities")
    return int(bool(bad))


def ask() -> list[dict]:
    """What pip-audit says of each package; nothing when it has no answer."""
    try:
        done = subprocess.run(AUDIT, capture_output=True, text=True, timeout=SECONDS)
        return json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return []


if __name__ == "__main__":
    sys.exit(main())
