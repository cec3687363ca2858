"""The command of `make audit`: `python -m infra.audit PIP_AUDIT LOCK…`."""

import sys

from infra.audit import audit


def main(pip_audit: str, *locks: str) -> int:
    """Audit each lock file; return the exit code."""
    verdicts = [audit(pip_audit, lock) for lock in locks]
    sys.stdout.writelines(f"{verdict.text}\n" for verdict in verdicts)
    return max(verdict.exit_code for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
