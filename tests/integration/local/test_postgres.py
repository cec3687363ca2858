"""Our own PostgreSQL server: durable, private, restartable, and gone when stopped."""

import os
import signal
from pathlib import Path

import asyncpg
import psutil
import pytest

from infra.local.postgres import Postgres, databases_of, let_through
from infra.local.processes import alive
from shared.event_log import SCHEMA
from shared.platform.postgres import migrate
from tests.support.servers import Databases


async def test_is_durable(database: str) -> None:
    connection = await asyncpg.connect(database)
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        assert await connection.fetchval(f"SHOW {setting}") == "on"
    await connection.close()


async def test_a_role_cannot_connect_to_anothers_database(databases: Databases) -> None:
    registration, identity = databases(service="registration"), databases(service="identity")
    trespass = registration.rpartition("/")[0] + "/" + identity.rpartition("/")[2]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(trespass)


async def test_needs_the_password(database: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(database, password="guessed")


async def test_listens_on_loopback_only(postgres: Postgres) -> None:
    listening = [
        c.laddr for c in psutil.Process(postgres.program.pid).net_connections() if c.status == "LISTEN"
    ]
    assert listening == [("127.0.0.1", postgres.port)]


async def test_finds_its_data_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "deep" / "er")
    server.start()
    server.create_database("kept", "keeper")
    server.sql("CREATE TABLE kept AS SELECT 7 AS number", "kept")
    server.stop()
    server.start()
    assert server.sql("SELECT number FROM kept", "kept") == "7"
    os.kill(server.program.pid, signal.SIGKILL)
    server.start()
    assert server.sql("SELECT number FROM kept", "kept") == "7"
    server.stop()


@pytest.mark.parametrize(("prefix", "mode"), [(("setpriv",), 0o711), (("unshare",), 0o700), ((), 0o700)])
def test_only_a_server_of_another_user_may_pass_the_stacks_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: tuple[str, ...], mode: int
) -> None:
    monkeypatch.setattr("infra.local.postgres.as_ordinary_user", lambda: prefix)
    tmp_path.chmod(0o700)
    let_through(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == mode


async def test_stop_leaves_no_process_behind_with_clients_and_suspended(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    server.start()
    client = await asyncpg.connect(server.url("postgres"))
    family = [
        psutil.Process(server.program.pid),
        *psutil.Process(server.program.pid).children(recursive=True),
    ]
    assert len(family) > 3
    os.kill(server.program.pid, signal.SIGSTOP)
    server.stop()
    assert not alive(family)
    client.terminate()


async def test_a_given_server_needs_no_superuser_and_keeps_the_three_roles_apart(
    postgres: Postgres, tmp_path: Path
) -> None:
    postgres.sql(f"CREATE ROLE demo LOGIN CREATEROLE CREATEDB PASSWORD '{postgres.password('demo')}'")
    postgres.sql("CREATE DATABASE demo OWNER demo")
    for _ in range(2):
        made = databases_of(postgres.url("demo", "demo"), tmp_path)
        for urls in made.values():
            await migrate(urls.owner, SCHEMA, urls.service)
            for url, may_write in ((urls.service, True), (urls.reader, False)):
                connection = await asyncpg.connect(url)
                writes = "has_table_privilege('stored_events', 'INSERT')"
                assert await connection.fetchval(f"SELECT {writes}") == may_write
                assert await connection.fetchval("SELECT count(*) FROM stored_events") == 0
                await connection.close()
    assert set(made) == {"registration", "identity"}
