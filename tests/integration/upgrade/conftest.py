"""An installation of the release before, taken over by the present code in both ways that there are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.local.postgres import Postgres
from tests.support.release_before import SERVICES, Upgraded
from tests.support.servers import Databases


@pytest.fixture(scope="module", params=["database", "exported log"])
def upgraded(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    """Taken over; nothing is served, and nothing happened since. The tests of a module share it, in order."""
    databases = Databases(postgres)
    urls = {service: databases(owner=f"{service}_before") for service in SERVICES}
    installation = Upgraded(tmp_path_factory.mktemp("upgraded"), urls)
    with ThreadPoolExecutor() as side_by_side:
        if request.param == "database":
            list(side_by_side.map(installation.take_over_dump, SERVICES, urls.values()))
        else:
            list(side_by_side.map(installation.take_over_log, SERVICES))
    yield installation
    databases.drop_all()


@pytest.fixture(scope="module")
def served(upgraded: Upgraded) -> Iterator[Upgraded]:
    """The same, with both APIs up."""
    with upgraded.serving():
        yield upgraded
