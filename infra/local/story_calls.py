"""How the story talks to the services, and to the home library's file of patrons."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from infra.local.transcript import CameOutWrong

PATIENCE = 15.0  # seconds, for what has to travel from one service to the other

Answer = dict[str, Any]


def client_of(stack: Mapping[str, Any], service: str, token: str) -> httpx.AsyncClient:
    """A client of one service's API, signed in with the token of that name."""
    return httpx.AsyncClient(
        base_url=stack[f"{service}_url"],
        headers={"Authorization": f"Bearer {stack['tokens'][token]}"},
        timeout=10,
    )


def answer_of(response: httpx.Response) -> Answer:
    """The body of a success; raises CameOutWrong with the problem's own words otherwise."""
    if response.is_error:
        request = response.request
        raise CameOutWrong(
            f"{request.method} {request.url.path} answered {response.status_code}: {response.text}"
        )
    return dict(response.json())


async def until(ask: Callable[[], Awaitable[Answer | None]]) -> Answer:
    """What `ask` answers as soon as it is not None; raises CameOutWrong when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while (answer := await ask()) is None:
        if time.monotonic() > deadline:
            raise CameOutWrong(f"waited {PATIENCE:.0f} s for what did not come")
        await asyncio.sleep(0.05)
    return answer


@contextmanager
def membership_ended(patrons_file: Path, card: str, status: str = "expired") -> Iterator[None]:
    """End the membership at the home library inside the block, as anyone could in its file.

    `status`: how the patron stands there instead, see patrons.Status.
    """
    before = patrons_file.read_text(encoding="utf-8")
    patrons = json.loads(before)
    ended = patrons.get(card, SOMEBODY) | {"status": status}
    try:
        _replace(patrons_file, json.dumps(patrons | {card: ended}, indent=2, ensure_ascii=False))
        yield
    finally:
        _replace(patrons_file, before)


def _replace(path: Path, text: str) -> None:
    """The home library reads the file for every question: it must never see half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


SOMEBODY = {
    "name": "A. de Boer",
    "birth_date": "1980-01-01",
    "address": "Dorpsstraat 1, 9351 AA Leek",
    "email": "a.deboer@example.nl",
    "chip": True,
    "ends_on": None,
    "answers_as": None,
}
