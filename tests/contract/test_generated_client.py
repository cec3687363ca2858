"""A client that a generator makes of our description registers a guest (openapi-python-client, from PyPI)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from infra.api_tools.__main__ import write_documents
from registration.adapters.tables import SCHEMA as REGISTRATION
from tests.support.peers import met
from tests.support.peers.environments import peer_python
from tests.support.registration_service import CARD, HOME, open_registration_app
from tests.support.served import served
from tests.support.servers import Databases

MOST_MODELS = 60
"""Classes that a client needs for one document: with more, its maker looks for the right one."""
PROGRAM = """
import json, sys
from uuid import uuid4

from generated import AuthenticatedClient
from generated.api.guests import find_guests, register_guest, show_guest, show_guest_history
from generated.api.login_accounts import unlink_login_account
from generated.models import BecauseOf, GuestJson, NewGuest, NoneChosen, Problem

address, token, card, home = sys.argv[1:]
client = AuthenticatedClient(base_url=address, token=token)
body = NewGuest(
    card_number=card,
    home_isil=home,
    branch="9453",
    subscription_code="346",
    card_has_chip=True,
    identity_document_checked=True,
    login_account=NoneChosen(choice="none"),
)
key = str(uuid4())
made = register_guest.sync_detailed(client=client, body=body, idempotency_key=key, accept_language="en")
guest = made.parsed
assert isinstance(guest, GuestJson), made
assert made.headers["Location"] == f"/v1/guests/{guest.guest_id}"
again = register_guest.sync(client=client, body=body, idempotency_key=key)
assert again.guest_id == guest.guest_id
assert show_guest.sync(guest.guest_id, client=client).card_number == card
refused = register_guest.sync(client=client, body=body, accept_language="en")
assert isinstance(refused, Problem) and refused.guest_id == guest.guest_id, refused
bare = unlink_login_account.sync(guest.guest_id, client=client, body=BecauseOf(reason="mistake"))
assert isinstance(bare, Problem) and bare.code == "not-linked", bare
stranger = AuthenticatedClient(base_url=address, token="none")
nobody = show_guest.sync(guest.guest_id, client=stranger)
assert isinstance(nobody, Problem) and nobody.status == 401, nobody
print(json.dumps({"guest_id": str(guest.guest_id), "code": refused.code, "detail": refused.detail}))
"""


async def _run(*command: object, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(str(part) for part in command),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output


async def generated(how: str, document: object, folder: Path, name: str = "generated") -> int:
    """Make a client of the document at this address (`--url`) or path; how many models it has."""
    (folder / "settings.yml").write_text("post_hooks: []\n", "ascii")
    generator = (peer_python("openapi_python_client"), "-m", "openapi_python_client", "generate")
    where = ("--meta", "none", "--output-path", folder / name, "--config", folder / "settings.yml")
    output = await _run(*generator, how, document, *where, folder=folder)
    # The generator knows no CSV: an operator uploads and downloads that without it.
    assert output.count("WARNING") <= output.count("Unsupported content type text/csv"), output
    return len([file for file in (folder / name / "models").glob("*.py") if file.name != "__init__.py"])


@pytest.mark.timeout(240)
async def test_a_generated_client_registers_a_guest(databases: Databases, tmp_path: Path) -> None:
    python = await asyncio.to_thread(peer_python, "openapi_python_client")
    shown = "from importlib.metadata import version; print(version('openapi-python-client'))"
    met(f"openapi-python-client {(await _run(python, '-c', shown, folder=tmp_path)).strip()}")
    async with (
        open_registration_app(databases(scripts=REGISTRATION), tmp_path) as registration,
        served(registration.app) as address,
    ):
        assert await generated("--url", f"{address}/openapi.json", tmp_path) <= MOST_MODELS
        token = registration.signer.token("counter", "1001")
        printed = await _run(python, "-c", PROGRAM, address, token, CARD, HOME, folder=tmp_path)
        said: dict[str, Any] = json.loads(printed)
        async with registration.client() as clerk:
            guest = (await clerk.get(f"/v1/guests/{said['guest_id']}")).json()
    assert (guest["card_number"], guest["branch"], guest["lending_strips"]) == (CARD, "9453", 125)
    assert (said["code"], said["detail"]) == ("already-registered", "This person is already registered here.")


@pytest.mark.timeout(240)
async def test_clients_of_the_other_documents_are_small_too(tmp_path: Path) -> None:
    await asyncio.to_thread(peer_python, "openapi_python_client")
    documents = {file.stem: file for file in write_documents(tmp_path / "documents")}
    del documents["registration"]  # see above
    models = {
        name: await generated("--path", file, tmp_path, name.replace(".", "_"))
        for name, file in documents.items()
    }
    assert {name for name, count in models.items() if count > MOST_MODELS} == set(), models
    assert len(models) == 3
