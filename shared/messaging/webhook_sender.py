"""Send one message to a webhook receiver: signed, over a checked address, with a bounded answer.

Signed as Standard Webhooks asks for: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self

import httpcore2
import httpx2
from standardwebhooks import Webhook

from shared.messaging.envelope import CONTENT_TYPE, Message
from shared.messaging.webhook_receivers import Network, Receiver
from shared.platform import limits
from shared.platform.http_client import HttpClient, trusted_authorities, up_to

LARGEST_ANSWER = 64 * 1024
"""In bytes. Only the status counts; what else a receiver sends is read and thrown away."""
GONE = 410
NOT_THE_MESSAGE = frozenset({401, 403, 404, 405, 408, 425, 429})
"""Statuses that say nothing about the message, although they are 4xx: a wrong address or secret, too much."""
AT_ONCE = 8
"""Connections to one receiver."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message was not taken. `refused`: the receiver answered, and does not want this message.

    `gone`: it wants none any more (410). `retry_after`: in seconds, if the receiver asked for it.
    """

    reason: str
    refused: bool = False
    gone: bool = False
    retry_after: float | None = None


class AddressRefused(httpcore2.ConnectError):
    """The receiver's name leads to an address that is not public."""


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Return whether a message may be sent to this address: a public one, or one of these networks.

    Addresses that hold another one (IPv4 in IPv6) count as that one.
    """
    inner = _inner(address)
    if inner is not None:
        return is_allowed(inner, allowed)
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


class CheckedAddresses(httpcore2.AsyncNetworkBackend):
    """Connects to allowed addresses only.

    The address that was checked is the one that is connected to, so a name that leads elsewhere a moment
    later changes nothing.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """See AsyncNetworkBackend. Raises AddressRefused, ConnectError."""
        failure: Exception | None = None
        for address in await self._addresses(host, port):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore2.ConnectError("the name has no address")

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """Raise AddressRefused: a receiver is on a network."""
        raise AddressRefused("a socket file is no receiver")

    async def sleep(self, seconds: float) -> None:
        """See AsyncNetworkBackend."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise httpcore2.ConnectError("the name was not found") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [text for text in addresses if is_allowed(ipaddress.ip_address(text), self._allowed)]
        if addresses and not allowed:
            raise AddressRefused(
                f"{addresses[0]} is not a public address: allowed_networks must name its network"
            )
        return allowed


class WebhookSender:
    """Sends to one receiver, over connections of its own; a context manager."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._keys = [Webhook(secret) for secret in receiver.secrets]
        transport = httpx2.AsyncHTTPTransport(verify=trusted_authorities())
        # httpx2 has no way to give a transport another network. Proxies of the environment are not used.
        transport._pool = httpcore2.AsyncConnectionPool(
            ssl_context=trusted_authorities(),
            max_connections=AT_ONCE,
            network_backend=CheckedAddresses(receiver.setting.allowed_networks),
        )
        self._http = HttpClient(transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(self, message: Message) -> Failure | None:
        """Send a message; return None when the receiver has taken it. Redirects are not followed."""
        body = message.to_json()
        try:
            answer = await self._http.post(
                self._receiver.setting.url,
                content=body,
                headers=self.headers(str(message.id), body, datetime.now(UTC)),
                timeout=limits.WEBHOOK,
                extensions=up_to(LARGEST_ANSWER),
            )
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return Failure(f"{type(error).__name__}: {_cause(error)}"[:300])
        return _failure(answer)

    def headers(self, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
        """Return the headers, with one signature for each secret: the receiver may know either."""
        signatures = [key.sign(message_id, now, body.decode()) for key in self._keys]
        return {
            "content-type": CONTENT_TYPE,
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def _cause(error: Exception) -> str:
    return " ".join(str(error).split()) or "no answer in time"


def _failure(answer: httpx2.Response) -> Failure | None:
    status = answer.status_code
    if 200 <= status < 300:
        return None
    if status == GONE:
        return Failure("it answered 410: it wants no messages any more", refused=True, gone=True)
    if 300 <= status < 400:
        return Failure(f"it answered {status}: redirects are not followed")
    refused = 400 <= status < 500 and status not in NOT_THE_MESSAGE
    return Failure(f"it answered {status}", refused=refused, retry_after=_retry_after(answer))


def _retry_after(answer: httpx2.Response) -> float | None:
    """Return the seconds of the header Retry-After, which has a number or a date (RFC 9110)."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the second for a year or a zone of twenty digits
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
