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
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from shared.cli.running import Failed

MOST_AT_ONCE = 2_000
"""Requests on their way. When so many are not answered, those that are due are counted as not sent."""
LATEST_SECONDS = 1.0
"""After the time is over nothing more is sent, but for a moment that the event loop may be late."""
PATIENCE = 10.0  # seconds for an answer


@dataclass(frozen=True, slots=True)
class Guests:
    """The guests to register. `accounts`: the beginning of the id of a login account, before the card."""

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
    """What came back: how many of each status, and the seconds until each 201.

    `unsent` were due while too many were not answered, or when this process was too slow to send them within
    the time. `elapsed`: seconds until the last answer.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    unsent: int = 0
    elapsed: float = 0.0

    def shown(self) -> dict[str, Any]:
        """Return what people and scripts read; times are in milliseconds."""
        parts = quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        times = {f"p{part}": round(parts[part - 1] * 1000, 1) for part in (50, 95, 99)}
        slowest = round(max(self.seconds, default=0.0) * 1000, 1)
        return {
            "registered": self.statuses["201"],
            "per second": round(self.statuses["201"] / self.elapsed, 1),
            **times,
            "slowest": slowest,
            **{f"answers {status}": number for status, number in sorted(self.statuses.items())},
            "not sent": self.unsent,
        }


def require_own(url: str, *, own: bool) -> None:
    """Raise Failed unless the address is one of this machine, or its owner said so with `own`."""
    if not own and not _is_loopback(url):
        raise Failed(f"{url} is not on this machine. Add --yes-i-own-this if it is yours.")


def client_settings(url: str, token_file: Path) -> dict[str, Any]:
    """Return the settings of the HTTP client: where it sends to, as which clerk, how long it waits."""
    token = token_file.read_text(encoding="utf-8").strip()
    return {
        "base_url": url.rstrip("/"),
        "headers": {"Authorization": f"Bearer {token}"},
        "timeout": PATIENCE,
        "limits": httpx2.Limits(max_connections=MOST_AT_ONCE, max_keepalive_connections=MOST_AT_ONCE),
    }


def _is_loopback(url: str) -> bool:
    """Return whether every address of the host is one of this machine."""
    host = urlsplit(url).hostname or ""
    with suppress(OSError, ValueError):
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(address).is_loopback for address in found)
    return False


async def register_at(
    rate: float,
    seconds: float,
    bodies: Iterator[dict[str, Any]],
    client: httpx2.AsyncClient,
    progress: Callable[[int], None],
) -> Measured:
    """Send so many registrations per second, whatever the answers, and return what came back."""
    sending, measured = set[asyncio.Task[None]](), Measured()
    began = perf_counter()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - perf_counter()))
        if len(sending) >= MOST_AT_ONCE or perf_counter() - began > seconds + LATEST_SECONDS:
            measured.unsent += 1
            progress(1)
            continue
        task = asyncio.create_task(_send(client, next(bodies), measured))
        sending.add(task)
        task.add_done_callback(sending.discard)
        task.add_done_callback(lambda _: progress(1))
    await asyncio.gather(*sending)
    measured.elapsed = perf_counter() - began
    return measured


async def _send(client: httpx2.AsyncClient, body: dict[str, Any], measured: Measured) -> None:
    began = perf_counter()
    try:
        answer = await client.post("/v1/guests", json=body, headers={"Idempotency-Key": str(uuid4())})
    except httpx2.TransportError as error:
        measured.statuses[type(error).__name__] += 1
        return
    measured.statuses[str(answer.status_code)] += 1
    if answer.status_code == 201:
        measured.seconds.append(perf_counter() - began)
