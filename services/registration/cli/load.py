"""`registration load`: register guests at a steady rate, and show how long the answers take."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import uuid4

import typer

from shared.cli.console import progress_bar, show_json, show_pairs
from shared.cli.running import Failed, in_loop

MOST_AT_ONCE = 2_000
"""Requests on their way. When so many are not answered, those that are due are counted as not sent."""
PATIENCE = 10.0  # seconds for an answer


@dataclass(frozen=True, slots=True)
class Target:
    """Where to register, as whom, and which cards."""

    url: str
    token: str
    home_isil: str
    branch: str
    subscription: str | None
    first_card: str
    accounts: str | None

    def bodies(self) -> Iterator[dict[str, Any]]:
        """Yield the bodies of registrations, each with the next card number."""
        width = len(self.first_card)
        for number in count(int(self.first_card)):
            card = f"{number:0{width}}"
            account = self.accounts and {"choice": "existing", "account_id": f"{self.accounts}{card}"}
            yield {
                "card_number": card,
                "home_isil": self.home_isil,
                "branch": self.branch,
                "subscription_code": self.subscription,
                "card_has_chip": True,
                "identity_document_checked": True,
                "login_account": account or {"choice": "none"},
            }


@dataclass
class Measured:
    """Answers by status, and the seconds until each 201. `unsent`: due, while too many were on their way."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    unsent: int = 0

    def shown(self, within: float) -> dict[str, Any]:
        """Return what people and scripts read; times are in milliseconds."""
        parts = quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        times = {f"p{part}": round(parts[part - 1] * 1000, 1) for part in (50, 95, 99)}
        slowest = round(max(self.seconds, default=0.0) * 1000, 1)
        return {
            "registered": self.statuses["201"],
            "per second": round(self.statuses["201"] / within, 1),
            **times,
            "slowest": slowest,
            **{f"answers {status}": number for status, number in sorted(self.statuses.items())},
            "not sent": self.unsent,
        }


def load(
    *,
    rate: Annotated[float, typer.Option(min=0.1, max=5_000, help="Registrations per second.")],
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long.")],
    first_card: Annotated[str, typer.Option(help="The first card number; each next one is one higher.")],
    token_file: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A clerk's access token.")],
    home_isil: Annotated[str, typer.Option(help="The library of the cards.")],
    branch: Annotated[str, typer.Option(help="The branch of the clerk.")],
    url: Annotated[str, typer.Option(help="The registration service.")] = "http://127.0.0.1:8001",
    subscription: Annotated[str | None, typer.Option(help="The code of the subscription.")] = None,
    accounts: Annotated[
        str | None, typer.Option(help="What stands before the card number in the id of its login account.")
    ] = None,
    own: Annotated[
        bool, typer.Option("--yes-i-own-this", help="The address is not of this machine, and it is mine.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Register guests at a steady rate, whatever the answers. They are real registrations: use a test system.

    An answer that takes long holds up no other request, as at real counters.
    """
    if not first_card.isdecimal():
        raise typer.BadParameter("digits only", param_hint="--first-card")
    if not own and not _is_loopback(url):
        raise Failed(f"{url} is not on this machine. Add --yes-i-own-this if it is yours.")
    token = token_file.read_text(encoding="utf-8").strip()
    target = Target(url.rstrip("/"), token, home_isil, branch, subscription, first_card, accounts)
    measured = Measured()
    with progress_bar("registering", round(rate * seconds), "guests") as progress:
        in_loop(_register(target, rate, seconds, measured, progress))
    shown = measured.shown(seconds)
    if as_json:
        show_json(shown)
    else:
        show_pairs(shown)
    if not measured.statuses["201"]:
        raise typer.Exit(1)


def _is_loopback(url: str) -> bool:
    """Return whether every address of the host is one of this machine."""
    host = urlsplit(url).hostname or ""
    with suppress(OSError, ValueError):
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(address).is_loopback for address in found)
    return False


async def _register(
    target: Target, rate: float, seconds: float, measured: Measured, progress: Callable[[int], None]
) -> None:
    import httpx2  # noqa: PLC0415 - slow

    sending: set[asyncio.Task[None]] = set()
    limits = httpx2.Limits(max_connections=MOST_AT_ONCE, max_keepalive_connections=MOST_AT_ONCE)
    async with httpx2.AsyncClient(base_url=target.url, timeout=PATIENCE, limits=limits) as client:
        began, bodies = perf_counter(), target.bodies()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - perf_counter()))
            if len(sending) >= MOST_AT_ONCE:
                measured.unsent += 1
                progress(1)
                continue
            task = asyncio.create_task(_send(client, target.token, next(bodies), measured))
            sending.add(task)
            task.add_done_callback(sending.discard)
            task.add_done_callback(lambda _: progress(1))
        await asyncio.gather(*sending)


async def _send(client: Any, token: str, body: dict[str, Any], measured: Measured) -> None:
    import httpx2  # noqa: PLC0415 - slow

    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
    began = perf_counter()
    try:
        answer = await client.post("/v1/guests", json=body, headers=headers)
    except httpx2.TransportError as error:
        measured.statuses[type(error).__name__] += 1
        return
    measured.statuses[str(answer.status_code)] += 1
    if answer.status_code == 201:
        measured.seconds.append(perf_counter() - began)
