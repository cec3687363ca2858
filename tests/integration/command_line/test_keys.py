"""`keys status|rewrap` of both services, as an operator retires a master key."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from uuid import UUID, uuid4

import pytest

from shared.event_log import MasterKeys
from tests.support.installation import Installation
from tests.support.servers import as_owner

Captured = pytest.CaptureFixture[str]


async def store(database: str, subject_id: UUID, wrapped: object) -> None:
    """Put a data key beside those that the service made."""
    async with as_owner(database) as owner:
        await owner.execute("INSERT INTO data_keys VALUES ($1, $2)", subject_id, wrapped)


def test_r19_a_key_that_cannot_be_used_is_named_and_all_others_are_wrapped_again(
    installed: Installation, capsys: Captured
) -> None:
    before = installed.live()
    keys, lost = installed.settings.master_key_file, uuid4()
    _, row = MasterKeys([os.urandom(32)]).create(lost)
    asyncio.run(store(installed.settings.database_url.get_secret_value(), lost, row.values["wrapped"]))
    keys.write_text(base64.b64encode(b"n" * 32).decode() + "\n" + keys.read_text("ascii"), "ascii")
    capsys.readouterr()

    assert installed.run("keys", "rewrap", "--json") == 1
    said = capsys.readouterr()
    done = json.loads(said.out)
    assert done["failed"] == {str(lost): "DecryptionFailed"}
    assert f"{lost} (DecryptionFailed)" in said.err.splitlines()[-1]

    assert installed.run("keys", "status", "--json") == 0
    newest, old, missing = json.loads(capsys.readouterr().out)
    assert (newest["data_keys"], old["data_keys"], missing["data_keys"]) == (done["rewrapped"], 0, 1)
    assert done["rewrapped"] > 0
    assert installed.answers() == before
