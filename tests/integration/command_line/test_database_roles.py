"""Three roles for each database: the service rewrites no history, a reader changes nothing (ADR 0021)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from identity.adapters.tables import SCHEMA as IDENTITY
from infra.local.postgres import ROLES_SQL, binary, roles_of
from registration.adapters.tables import SCHEMA as REGISTRATION
from registration.read_models import VIEWS
from shared.event_log import MasterKeys, PostgresEventLog
from shared.event_log.erasures import erasure_row
from shared.event_log.types import SideRow
from shared.platform.postgres import SERVER_SETTINGS, Script, migrate, open_pool
from shared.projections.rebuild import Source
from tests.support.event_log import new_event
from tests.support.installation import INSTALLATIONS, Installation
from tests.support.projections import rebuild_all
from tests.support.servers import Databases, migrated, owner_url, reader_url

SCHEMAS: dict[str, Sequence[Script]] = {"registration": REGISTRATION, "identity": IDENTITY}
HISTORY = {
    "stored_events",
    "erasures",
    "event_log_identity",
    "schema_migrations",
    "inbox",
    "message_sources",
    "discarded_messages",
    "unreadable_messages",
}
"""What happened, and what makes it true: a row is added, or not even that, and never changed."""
PERSONAL = {
    *("data_keys", "idempotency_keys", "staff_sessions", "form_drafts", "staff_names", "staff_hints"),
    "logout_tokens",
    *("lookups", "lookup_guests"),
    *("guest_directory", "guest_words", "accounts", "links", "logins"),
}
"""Keys, sessions, who looked up whom, personal data and account ids: no reader sees it."""

CHANGED = (
    "UPDATE {0} SET {1} = {1}",
    "DELETE FROM {0}",
    "TRUNCATE {0} CASCADE",
    "GRANT ALL ON {0} TO CURRENT_USER; DELETE FROM {0}",
    "LOCK TABLE {0} IN ACCESS EXCLUSIVE MODE",
)
MADE_OTHERWISE = (
    "DROP TABLE {0} CASCADE",
    "ALTER TABLE {0} ADD COLUMN more text",
    "ALTER TABLE {0} RENAME TO other",
    "ALTER TABLE {0} SET SCHEMA tests",
    "ALTER TABLE {0} OWNER TO CURRENT_USER",
    "ALTER TABLE {0} DISABLE TRIGGER ALL",
    "CREATE TRIGGER other AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION drop_row()",
    "CREATE RULE other AS ON INSERT TO {0} DO INSTEAD NOTHING",
    "CREATE INDEX other ON {0} ({1})",
    "COPY {0} FROM PROGRAM 'true'",
    "COPY {0} TO PROGRAM 'true'",
)
ELSEWHERE = (
    "SET session_replication_role = 'replica'",
    "SET ROLE tests_owner",
    "SET SESSION AUTHORIZATION tests_owner",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "GRANT tests_owner TO CURRENT_USER",
    "CREATE TABLE public.other ()",
    "CREATE TEMPORARY TABLE stored_events ()",
    "CREATE SCHEMA other",
    "DROP SCHEMA public CASCADE",
    "CREATE FUNCTION public.other() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION is_erased(subject uuid) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
    "CREATE OR REPLACE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "ALTER FUNCTION append_events RENAME TO other",
    "DROP FUNCTION append_events CASCADE",
    "SELECT rows_die_with_subject('stored_events', 'originator_id')",
    "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || quote_ident(current_database()) || ' RENAME TO x'; END $$",
)


@pytest.fixture(params=SCHEMAS)
def schema(request: pytest.FixtureRequest) -> Sequence[Script]:
    """The migrations of a service."""
    return SCHEMAS[request.param]


@pytest.fixture
def database(databases: Databases, schema: Sequence[Script]) -> str:
    """A database of that service, with its three roles."""
    return databases(scripts=schema)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, server_settings=SERVER_SETTINGS)
    try:
        yield connection
    finally:
        await connection.close()


async def columns_of(url: str, schema: str = "public") -> dict[str, str]:
    """Every table of a schema, with its last column."""
    async with connected(owner_url(url)) as owner:
        rows = await owner.fetch(
            "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
            " WHERE attnum = relnatts AND relkind = 'r' AND relnamespace = $1::regnamespace",
            schema,
        )
    return {row["relname"]: row["attname"] for row in rows}


async def allowed(connection: asyncpg.Connection, statements: Sequence[str]) -> list[str]:
    """Which of these statements this role may run. Nothing of it stays."""
    ran = []
    for statement in statements:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            pass
        else:
            ran.append(statement)
        await transaction.rollback()
    return ran


async def test_the_service_cannot_rewrite_history(database: str) -> None:
    tables = await columns_of(database)
    assert set(tables) >= HISTORY
    history = HISTORY | {"released_orphans"}  # identity's
    statements = [
        change.format(table, column)
        for table, column in tables.items()
        for change in (*(CHANGED if table in history else ()), *MADE_OTHERWISE)
    ]
    async with connected(database) as service:
        assert await allowed(service, [*statements, *ELSEWHERE]) == []


async def test_a_key_is_destroyed_by_an_erasure_only_and_never_replaced(database: str) -> None:
    async with connected(database) as service:
        assert await allowed(service, [change.format("data_keys", "wrapped") for change in CHANGED]) == []


async def test_no_table_of_the_service_hides_one_of_the_log_or_deletes_from_it(database: str) -> None:
    forged = uuid4()
    async with (
        await open_pool(database, min_size=3, max_size=4) as pool,
        PostgresEventLog(pool) as log,
        connected(database) as service,
    ):
        await log.append([new_event(uuid4(), 1)])
        await service.execute("CREATE TABLE tests.stored_events AS SELECT * FROM public.stored_events")
        await service.execute("UPDATE tests.stored_events SET caused_by = 'forged'")
        await service.execute("CREATE TABLE tests.trap (subject_id uuid)")
        trap = (
            "CREATE TRIGGER trap AFTER INSERT ON tests.trap FOR EACH ROW"
            " EXECUTE FUNCTION delete_rows_of_erased('stored_events', 'originator_id')"
        )
        assert await allowed(service, [trap]) == []
        assert [event.metadata.caused_by for event in await log.read(0, 10)] == ["tests"]
        assert await log.append([new_event(forged, 1)]) == 2


async def test_r19_an_erasure_deletes_what_the_service_itself_could_not(database: str) -> None:
    subject = uuid4()
    key = SideRow("data_keys", {"subject_id": subject, "wrapped": b"key"})
    async with await open_pool(database, min_size=3, max_size=4) as pool, PostgresEventLog(pool) as log:
        await log.append([], [key])
        await log.append([], [erasure_row(subject)])
        assert await pool.fetchval("SELECT count(*) FROM data_keys") == 0
        await log.append([], [key])  # a late one is dropped
        assert await pool.fetchval("SELECT count(*) FROM data_keys") == 0


async def test_a_reader_reads_all_but_personal_data_and_changes_nothing(database: str) -> None:
    tables, views = await columns_of(database), await columns_of(database, "tests")
    everything = {**tables, **{f"tests.{view}": column for view, column in views.items()}}
    inserted = "INSERT INTO {0} DEFAULT VALUES"
    changes = [
        change.format(table, column)
        for table, column in everything.items()
        for change in (inserted, *CHANGED, *MADE_OTHERWISE)
    ]
    appended = "SELECT append_events('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', null)"
    async with connected(reader_url(database)) as reader:
        assert await allowed(reader, [*changes, *ELSEWHERE, appended, "CREATE TABLE tests.other ()"]) == []
        read = {name: f"SELECT * FROM {name}" for name in everything}  # noqa: S608
        readable = await allowed(reader, list(read.values()))
        secret = {name for name in everything if name.removeprefix("tests.") in PERSONAL}
        assert set(readable) == {read[name] for name in everything if name not in secret}
        assert secret


async def test_every_table_says_what_the_other_roles_may_do(database: str, schema: Sequence[Script]) -> None:
    declared = {table for script in schema for table in script.rights}
    there = {*await columns_of(database), *await columns_of(database, "tests")}
    assert declared == there - {"schema_migrations"}


async def test_migrate_takes_back_what_was_granted_beside_it(database: str, schema: Sequence[Script]) -> None:
    async with connected(owner_url(database)) as owner:
        await owner.execute("GRANT ALL ON stored_events TO tests; GRANT ALL ON data_keys TO tests_reader")
    assert await migrated(database, schema) == []
    async with connected(database) as service, connected(reader_url(database)) as reader:
        assert await allowed(service, ["DELETE FROM stored_events"]) == []
        assert await allowed(reader, ["SELECT * FROM data_keys"]) == []


async def test_what_a_rebuild_makes_is_read_by_the_same_roles(databases: Databases) -> None:
    database = databases(scripts=REGISTRATION)
    before = await readable_views(database)
    await rebuild_all(VIEWS, Source(database, MasterKeys([b"m" * 32])))
    assert await readable_views(database) == before
    assert "guest_history" in before
    assert not before & PERSONAL


async def readable_views(database: str) -> set[str]:
    views = await columns_of(database, "tests")
    async with connected(reader_url(database)) as reader:
        return {view for view in views if await allowed(reader, [f"SELECT * FROM tests.{view}"])}  # noqa: S608


def test_migrate_as_the_service_says_what_to_set(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = INSTALLATIONS["registration"](databases(), tmp_path, monkeypatch)
    monkeypatch.delenv("REGISTRATION_OWNER_DATABASE_URL")
    assert installed.run("migrate") == 1
    said = capsys.readouterr().err
    assert "REGISTRATION_OWNER_DATABASE_URL" in said
    assert said.count("\n") == 1


def test_migrate_of_two_databases_changes_neither(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = databases()
    installed = INSTALLATIONS["registration"](database, tmp_path, monkeypatch)
    monkeypatch.setenv("REGISTRATION_OWNER_DATABASE_URL", owner_url(databases()))
    assert installed.run("migrate") == 1
    assert "OWNER_DATABASE_URL names the database" in capsys.readouterr().err
    assert asyncio.run(columns_of(database)) == {}


def check_of_role(installed: Installation, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `doctor` found about the service's role."""
    capsys.readouterr()
    installed.run("doctor", "--json")
    checks = json.loads(capsys.readouterr().out)["checks"]
    return next(check for check in checks if check["step"] == "database role")


@pytest.mark.parametrize("service", INSTALLATIONS)
def test_one_role_goes_on_until_the_three_are_made_and_doctor_warns_meanwhile(
    databases: Databases,
    service: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = databases.of_one_role(f"{service}_alone")
    installed = INSTALLATIONS[service](database, tmp_path, monkeypatch)
    installed.use(database)
    owner = installed.variable("owner_database_url")
    with monkeypatch.context() as alone:
        alone.delenv(owner)
        assert installed.run("migrate") == 0
        before = installed.live()
        assert installed.run("projections", "rebuild", "all") == 0
        found = check_of_role(installed, capsys)
        assert (found["ok"], found["vital"]) == (False, False)
        assert "could rewrite history (erasures, stored_events)" in found["found"]
        assert owner in found["advice"]

    for _ in range(2):
        databases.give_three_roles(database)
        assert installed.answers() == before  # a process that runs goes on before the grants ...
        assert installed.run("migrate") == 0
        assert installed.answers() == before  # ... and after them
    assert check_of_role(installed, capsys)["ok"]
    assert installed.run("projections", "rebuild", "all") == 0
    assert installed.run("projections", "verify", "all") == 0


def test_the_script_of_the_containers_makes_both_databases_and_may_run_again(
    databases: Databases, tmp_path: Path
) -> None:
    server = databases.server
    for role in (*roles_of("registration"), *roles_of("identity")):
        name = role if role.endswith(("_owner", "_reader")) else f"{role}_database"
        (tmp_path / f"{name}_password").write_text(server.password(role) + "\n", "ascii")
    environment = {
        "PATH": f"{Path(binary('psql')).parent}:{os.environ['PATH']}",
        "SECRETS": str(tmp_path),
        "ROLES_SQL": str(ROLES_SQL),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSWORD": server.password("postgres"),
    }
    script = ROLES_SQL.with_suffix(".sh")
    try:
        for _ in range(2):
            subprocess.run(["sh", script], env=environment, check=True, capture_output=True)
        for service, schema in SCHEMAS.items():
            url, owner, reader = (server.url(service, role) for role in roles_of(service))
            asyncio.run(migrate(owner, schema, url))
            for role in (url, reader):
                assert asyncio.run(count_of_events(role)) == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            asyncio.run(count_of_events(server.url("identity", "registration")))
    finally:
        for service in SCHEMAS:
            server.drop_database(service)


async def count_of_events(url: str) -> int:
    async with connected(url) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM stored_events"))
