"""What the output of pip-audit means: a finding fails, a missing network is said."""

import json
from typing import Any

import pytest

from infra.audit import verdict

SAFE = {"name": "orjson", "version": "3.10", "vulns": []}
FAULT = {"id": "PYSEC-2025-1", "fix_versions": ["2.0"], "aliases": [], "description": "bad"}
UNSAFE = {"name": "jinja2", "version": "1.0", "vulns": [FAULT]}
UNKNOWN = {"name": "uvloop", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def read(*packages: dict[str, Any]) -> tuple[int, str]:
    done = verdict("requirements.txt", json.dumps({"dependencies": packages, "fixes": []}), "")
    return done.exit_code, done.text


def test_a_finding_fails_and_is_named() -> None:
    code, text = read(SAFE, UNSAFE, UNKNOWN)
    assert code == 1
    assert "jinja2 1.0: PYSEC-2025-1, fixed in 2.0" in text


def test_nothing_found() -> None:
    assert read(SAFE) == (0, "requirements.txt: no known vulnerability in 1 packages")


def test_what_was_not_audited_is_named() -> None:
    code, text = read(SAFE, UNKNOWN)
    assert (code, "NOT AUDITED: uvloop" in text) == (0, True)


def test_an_index_without_data_is_no_success() -> None:
    code, text = read(UNKNOWN)
    assert (code, "NOT AUDITED" in text, "no known" in text) == (0, True, False)


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ("requests.exceptions.ConnectionError: HTTPSConnectionPool(host='a.example')", 0),
        ("requests.exceptions.SSLError: HTTPSConnectionPool(host='a.example'): self-signed certificate", 0),
        ("ERROR:pip_audit._cli:requirement orjson is not hashed", 1),
        ("", 1),
    ],
)
def test_only_a_missing_network_is_forgiven(errors: str, code: int) -> None:
    assert verdict("requirements.txt", "", errors).exit_code == code
