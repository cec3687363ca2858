"""An installation of the release before, taken over by the present code in both ways that there are."""

from collections.abc import Iterator

import pytest

from infra.local.postgres import Postgres
from tests.support.release_before import SERVICES, Upgraded, restore_dump
from tests.support.servers import Databases


@pytest.fixture(scope="module", params=["database", "exported log"])
def upgraded(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    """Taken over; nothing is served, and nothing happened since. The tests of a module share it, in order."""
    databases = Databases(postgres)
    kept = request.param == "database"
    make = databases.of_one_role if kept else databases
    urls = {service: make(f"{service}_before") for service in SERVICES}
    installation = Upgraded(tmp_path_factory.mktemp("upgraded"), urls)
    for service, url in urls.items():
        if kept:
            restore_dump(service, url)
            databases.give_three_roles(url)
            installation.run(service, "migrate")
        else:
            installation.take_over_log(service)
    yield installation
    databases.drop_all()


@pytest.fixture(scope="module")
def served(upgraded: Upgraded) -> Iterator[Upgraded]:
    """The same, with both APIs up."""
    with upgraded.serving():
        yield upgraded
