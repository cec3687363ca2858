"""Processes of the release before go on over the new schema, forward and back: a migration only adds."""

from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest

from tests.support.additive import catalogue, not_additive
from tests.support.recorded_scripts import SCHEMAS, scripts_before
from tests.support.release_before import SERVICES
from tests.support.servers import Databases, as_owner, migrated

BEFORE = scripts_before()


@pytest.mark.parametrize("service", SERVICES)
def test_no_script_of_the_release_before_is_gone(service: str) -> None:
    """Its processes would not be ready: they look for each of theirs."""
    assert {script.name for script in BEFORE[service]} <= {script.name for script in SCHEMAS[service]}


@pytest.mark.parametrize("service", SERVICES)
async def test_what_is_new_only_adds_and_leads_to_the_schema_of_a_new_installation(
    databases: Databases, service: str
) -> None:
    database, new = databases(service), databases(service, SCHEMAS[service])
    await migrated(database, BEFORE[service])
    async with as_owner(database) as owner, as_owner(new) as owner_of_new:
        before = await catalogue(owner)
        await migrated(database, SCHEMAS[service])
        after = await catalogue(owner)
        assert not_additive(before, after) == []
        assert after == await catalogue(owner_of_new)


@pytest.fixture
async def owner(databases: Databases) -> AsyncIterator[asyncpg.Connection]:
    """The schema of registration."""
    database = databases("registration", SCHEMAS["registration"])
    async with as_owner(database) as connection:
        yield connection


async def test_what_a_migration_may_not_do_is_found_and_what_it_may_do_is_not(
    owner: asyncpg.Connection,
) -> None:
    before = await catalogue(owner)
    for statement, said in BREAKS.items():
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute(statement)
        found = not_additive(before, await catalogue(owner))
        await transaction.rollback()
        if said:
            assert [each for each in found if each.startswith(said)], f"{statement}: {found}"
        else:
            assert found == [], statement


BREAKS: Mapping[str, str] = {
    "ALTER TABLE lookups DROP COLUMN account": "lookups.account is gone",
    "ALTER TABLE lookups RENAME COLUMN account TO login": "lookups.account is gone",
    "DROP TABLE lookup_guests": "lookup_guests has no longer: FOREIGN KEY (lookup_id) REFERENCES lookups(id)",
    "ALTER TABLE term_checks ALTER COLUMN stale TYPE text": "term_checks.stale was boolean, is text",
    "ALTER TABLE lookups ALTER COLUMN account SET NOT NULL": "lookups.account became required",
    "ALTER TABLE lookups ALTER COLUMN at DROP DEFAULT": "lookups.at has no default any more",
    "ALTER TABLE lookups ADD COLUMN a text NOT NULL": "lookups.a is new, required, and has no default",
    "ALTER TABLE lookups ADD CHECK (kind <> 'x')": "lookups is refused more: CHECK ((kind <> 'x'::text))",
    "CREATE UNIQUE INDEX ON lookups (account)": "lookups is refused more: UNIQUE INDEX ON public.lookups",
    "ALTER TABLE term_checks DROP CONSTRAINT term_checks_pkey": "term_checks has no longer: PRIMARY KEY",
    "DROP FUNCTION drop_row() CASCADE": "function drop_row() is gone",
    "REVOKE INSERT ON lookups FROM registration": "right is gone: lookups for registration: INSERT",
    "ALTER TABLE lookups ADD COLUMN a text": "",
    "ALTER TABLE lookups ADD COLUMN a text NOT NULL DEFAULT ''": "",
    "CREATE TABLE a (b text PRIMARY KEY, c text NOT NULL UNIQUE)": "",
    "CREATE INDEX ON lookups (account)": "",
    "ALTER TABLE lookups ALTER COLUMN account DROP NOT NULL": "",
}
"""Statements, and the begin of what is found; nothing: the statement only adds."""
