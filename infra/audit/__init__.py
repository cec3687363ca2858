"""Looks for known vulnerabilities of the locked packages (pip-audit, in an environment of its own)."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SECONDS_PER_PACKAGE = 5
"""How long the service of vulnerabilities may take for one package."""
NO_NETWORK = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "NameResolutionError",
    "Failed to resolve",
    "SSLError",  # something on the way answers in its place, with a certificate that nobody trusts here
    "Service Unavailable",
    "ServiceError",
)
"""What pip-audit writes when its service cannot be reached."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to print, and the exit code: 1 for a vulnerability, and for a run that failed by itself."""

    text: str
    exit_code: int


def audit(pip_audit: str, requirements: str) -> Verdict:
    """Ask about every package of one lock file."""
    command = (
        pip_audit,
        "--disable-pip",
        "--require-hashes",
        "--requirement",
        requirements,
        "--format",
        "json",
    )
    quiet = ("--progress-spinner", "off", "--timeout", str(SECONDS_PER_PACKAGE))
    done = subprocess.run([*command, *quiet], capture_output=True, text=True, check=False)  # noqa: S603
    return verdict(requirements, done.stdout, done.stderr)


def verdict(requirements: str, output: str, errors: str) -> Verdict:
    """Return what the output of pip-audit means. Packages that the service does not know are not audited."""
    try:
        packages: Sequence[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, LookupError, TypeError):
        if any(sign in errors for sign in NO_NETWORK):
            return Verdict(
                f"{requirements}: NOT AUDITED, the service of vulnerabilities cannot be reached", 0
            )
        return Verdict(f"{requirements}: pip-audit failed\n{errors}", 1)
    found = [
        f"{package['name']} {package['version']}: {fault['id']},"
        f" fixed in {', '.join(fault['fix_versions']) or 'no version'}"
        for package in packages
        for fault in package.get("vulns", [])
    ]
    if found:
        return Verdict("\n".join([f"{requirements}: known vulnerabilities", *found]), 1)
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        return Verdict(f"{requirements}: NOT AUDITED, the index here has no data about vulnerabilities", 0)
    but = f"; NOT AUDITED: {', '.join(skipped)}" if skipped else ""
    known = len(packages) - len(skipped)
    return Verdict(f"{requirements}: no known vulnerability in {known} packages{but}", 0)
