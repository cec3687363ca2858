"""Both services, each with a database of its own, as an operator finds them."""

from pathlib import Path

import pytest

from identity.adapters.tables import SCHEMA as IDENTITYS_SCHEMA
from registration.adapters.tables import SCHEMA
from tests.support.installation import INSTALLATIONS, Installation
from tests.support.servers import Databases

SCHEMAS = {"registration": SCHEMA, "identity": IDENTITYS_SCHEMA}


@pytest.fixture(params=INSTALLATIONS)
def installed(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """One of the services, as an operator finds it."""
    database = databases(scripts=SCHEMAS[request.param])
    return INSTALLATIONS[request.param](database, tmp_path, monkeypatch)
