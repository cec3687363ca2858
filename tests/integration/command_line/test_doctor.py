"""`doctor` of both services, where they have the same steps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from shared.cli.database_sessions import lost_between
from shared.platform.postgres import SERVER_SETTINGS, open_pool
from tests.support.installation import Installation


def finding(installed: Installation, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What it says of the files with secrets. It is a warning: the service works."""
    capsys.readouterr()
    assert installed.run("doctor", "--json") == 0
    [found] = [
        check for check in json.loads(capsys.readouterr().out)["checks"] if check["step"] == "secret files"
    ]
    return dict(found)


@pytest.mark.parametrize("mode", [0o640, 0o604])
@pytest.mark.parametrize("setting", ["master_key_file", "service_token_file"])
def test_it_warns_of_a_secret_that_others_can_read(
    installed: Installation, capsys: pytest.CaptureFixture[str], setting: str, mode: int
) -> None:
    file: Path = getattr(installed.settings, setting)
    assert finding(installed, capsys)["ok"]
    file.chmod(mode)
    warned = finding(installed, capsys)
    assert (warned["ok"], warned["vital"]) == (False, False)
    assert f"{file} (mode {mode:03o})" in str(warned["found"])
    assert str(installed.settings.person_ref_key_file) not in str(warned["found"])
    assert "chmod 600" in str(warned["advice"])


def test_it_looks_at_every_setting_that_names_a_secret(
    installed: Installation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """And at the file of settings of a local stack, which holds passwords."""
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    names = [name for name in type(installed.settings).model_fields if name.endswith("_file")]
    assert {"signing_key_file", "verification_key_file"} < {*names}
    files = [tmp_path / f"of-{name}" for name in names]
    for name, file in zip(names, files, strict=True):
        file.write_bytes(installed.settings.master_key_file.read_bytes())
        monkeypatch.setenv(installed.variable(name), str(file))
    files.append(tmp_path / f"{installed.name}.env")
    files[-1].write_text("")
    for file in files:
        file.chmod(0o644)
    found = str(finding(installed, capsys)["found"])
    assert [file.name for file in files if str(file) not in found] == []


def test_it_says_why_no_token_can_be_fetched(
    installed: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(installed.variable("service_token_file"), "")
    monkeypatch.setenv(installed.variable("service_client_id"), "a client")
    secret = installed.settings.master_key_file
    monkeypatch.setenv(installed.variable("service_client_secret_file"), str(secret))
    monkeypatch.setenv(installed.variable("service_token_issuer"), "http://127.0.0.1:1")
    capsys.readouterr()
    assert installed.run("doctor", "--json") == 1
    out = capsys.readouterr().out
    [found] = [check for check in json.loads(out)["checks"] if check["step"] == "service token"]
    assert found["found"].startswith("TokenUnavailable: 127.0.0.1 does not answer")
    assert "SERVICE_CLIENT_…" in found["advice"]
    assert "the client a client: see docs/connect-a-sign-in-service.md" in found["advice"]
    assert secret.read_text().strip() not in out


KNOWN_TO_POOLERS = {"user", "database", "client_encoding", "application_name", "datestyle", "timezone"}
TLS_REQUEST = b"\x04\xd2\x16\x2f"


@asynccontextmanager
async def pooler(url: str) -> AsyncIterator[str]:
    """An address at which PostgreSQL answers, but for start-up parameters that PgBouncer would refuse."""
    server = urlsplit(url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = TLS_REQUEST
        while body == TLS_REQUEST:
            size = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(size, "big") - 4)
            writer.write(b"N" if body == TLS_REQUEST else b"")
        names = {name.decode().lower() for name in body[4:].split(b"\0")[0:-2:2]}
        if unknown := names - KNOWN_TO_POOLERS:
            text = f"SFATAL\0C08P01\0Munsupported startup parameter: {min(unknown)}\0\0".encode()
            writer.write(b"E" + (len(text) + 4).to_bytes(4, "big") + text)
            writer.close()
            return
        from_server, to_server = await asyncio.open_connection(server.hostname, server.port)
        to_server.write(size + body)
        await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer), return_exceptions=True)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield server._replace(netloc=f"{server.netloc.rpartition(':')[0]}:{port}").geturl()
    finally:
        listening.close()


async def test_a_pooler_in_session_mode_is_fine_and_the_service_has_its_settings(
    installed: Installation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service, its migrations and `doctor` send no start-up parameter that a pooler refuses."""
    async with pooler(installed.settings.database_url.get_secret_value()) as address:
        with pytest.raises(asyncpg.ProtocolViolationError):
            await asyncpg.connect(address, server_settings=SERVER_SETTINGS)
        monkeypatch.setenv(installed.variable("database_url"), address)
        assert await asyncio.to_thread(installed.run, "migrate") == 0
        capsys.readouterr()
        assert await asyncio.to_thread(installed.run, "doctor", "--json") == 0
        assert await asyncio.to_thread(installed.run, "projections", "rebuild", "all") == 0
        async with await open_pool(address, min_size=1, max_size=1) as pool:
            for _ in range(2):  # as opened, and as it comes back to the pool
                found = [await pool.fetchval(f"SHOW {name}") for name in SERVER_SETTINGS]
                assert found == [*SERVER_SETTINGS.values()]


def test_doctor_names_what_a_pooler_loses(
    installed: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_connections: object) -> list[str]:
        return ["notifications", "advisory locks"]

    monkeypatch.setattr("shared.cli.database_sessions.lost_between", lost)
    capsys.readouterr()
    assert installed.run("doctor", "--json") == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    [found] = [check for check in checks if check["step"] == "database sessions"]
    assert "notifications, advisory locks" in found["found"]
    assert "session mode" in found["advice"]


async def test_two_connections_that_share_a_session_lose_what_belongs_to_it(database: str) -> None:
    """As behind a pooler that gives a session away after each transaction."""
    async with (
        await open_pool(database, min_size=2, max_size=2) as pool,
        pool.acquire() as one,
        pool.acquire() as other,
    ):
        assert await lost_between(one, other) == []
        assert await lost_between(one, one) == ["advisory locks"]
        await one.execute("RESET ALL")
        assert await lost_between(one, other) == ["settings"]
