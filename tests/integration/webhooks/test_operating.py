"""What operators do about receivers of webhooks: by command and over the API."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from registration.cli.main import app as commands
from shared.cli.running import exit_code
from shared.messaging.webhook_sender import Failure
from tests.integration.webhooks.conftest import Hooked
from tests.support.installation import put_into_environment

REFUSED = Failure("it answered 422", refused=True)


@pytest.fixture
async def waiting(hooked: Hooked, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A guest whose first message the receiver `one` does not take."""
    put_into_environment(hooked.app.service.settings, monkeypatch)
    guest = await hooked.registers()
    await hooked.state.is_stopped("one")
    await hooked.state.park("one", (guest, 1, 1), REFUSED)
    return guest


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(exit_code, commands, "registration", ["webhooks", *arguments])


async def test_commands(hooked: Hooked, waiting: UUID, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("list") == 0
    assert "one" in capsys.readouterr().out
    assert await run("show", "one", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["waiting"], shown["guests"][0]["guest_id"]) == (1, str(waiting))
    assert await run("show", "one") == 0
    assert "it answered 422" in capsys.readouterr().out
    assert await run("retry", "one", str(waiting), "--by", "femke") == 0
    assert await run("skip", "one", str(waiting), "--reason", " ", "--by", "femke") == 2
    assert await run("skip", "one", str(waiting), "--reason", "proefgast", "--by", "femke") == 0
    assert (await hooked.state.find("one", waiting)).version == 2
    await hooked.state.stop("one", "it answered 410")
    assert await run("resume", "one", "--by", "femke") == 0
    assert not await hooked.state.is_stopped("one")
    for wrong in (("show", "two"), ("resume", "two"), ("retry", "one", str(uuid4()))):
        assert await run(*wrong) == 1
        assert "registration webhooks" in capsys.readouterr().err


async def test_routes(hooked: Hooked, waiting: UUID) -> None:
    async with hooked.app.client(scope="installation", organisation=None, sub="beheer") as operator:
        path = "/v1/operations/webhooks"
        [receiver] = (await operator.get(path)).json()["receivers"]
        assert (receiver["name"], receiver["waiting"], receiver["parked"]) == ("one", 1, 0)
        details = (await operator.get(f"{path}/one")).json()
        assert details["waiting"][0]["guest_id"] == str(waiting)
        of_guest = f"{path}/one/guests/{waiting}"
        assert (await operator.post(f"{of_guest}/retry", json={"by": "femke"})).status_code == 202
        skipped = await operator.post(f"{of_guest}/skip", json={"reason": "proefgast", "by": "femke"})
        assert skipped.json() == {"version": 1}
        row = await hooked.app.service.pool.fetchrow("SELECT reason, skipped_by FROM webhook_skips")
        assert row is not None
        assert tuple(row) == ("proefgast", "femke via beheer")
        assert (await operator.post(f"{path}/one/resume")).status_code == 204
        nobody = await operator.post(f"{path}/one/guests/{uuid4()}/retry")
        assert (nobody.status_code, nobody.json()["code"]) == (404, "not-held")
        unknown = await operator.get(f"{path}/two")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "no-such-receiver")


async def test_an_erasure_leaves_no_reason_that_was_typed(hooked: Hooked, waiting: UUID) -> None:
    await hooked.state.skip("one", waiting, "mevrouw Jansen", "femke")
    async with hooked.app.client(scope="installation", organisation=None, sub="beheer") as operator:
        assert (await operator.delete(f"/v1/guests/{waiting}/personal-data")).status_code == 204
    assert await hooked.app.service.pool.fetchval("SELECT count(*) FROM webhook_skips") == 0
