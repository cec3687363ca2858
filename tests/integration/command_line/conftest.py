"""Both services, each with a database of its own and the schema in it."""

from pathlib import Path

import pytest

from tests.support.installation import INSTALLATIONS, Installation


@pytest.fixture(params=INSTALLATIONS)
def installed(
    request: pytest.FixtureRequest, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """One of the services, as an operator finds it."""
    installation = INSTALLATIONS[request.param](database, tmp_path, monkeypatch)
    assert installation.run("migrate") == 0
    return installation
