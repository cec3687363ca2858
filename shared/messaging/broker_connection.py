"""Connections to RabbitMQ, whose nodes may have several addresses of which some cannot be used (ADR 0035)."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self
from urllib.parse import parse_qs, urlsplit, urlunsplit

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelClosed, ChannelNotFoundEntity
from aiormq.exceptions import ChannelLockedResource

from shared.messaging.errors import BrokerUnavailable
from shared.platform import limits
from shared.platform.addresses import broker_addresses, place_of

Step = Callable[[AbstractChannel], Awaitable[object]]
"""What is asked of a broker."""

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_connection(urls: str) -> AsyncIterator[AbstractConnection]:
    """Open a connection to one of the nodes. Raises BrokerUnavailable, also from the body."""
    # Not a robust connection: it reconnects unseen, and still raises when publishing during an outage. The
    # caller waits and opens a new one.
    try:
        connection = await _connect(urls)
        try:
            yield connection
        finally:
            # An error while closing must not hide why it is closed: a cancellation, for example.
            with suppress(*CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(limits.BROKER_CLOSE):
                    await connection.close()
    except CONNECTION_EXCEPTIONS as error:
        raise BrokerUnavailable(text_of(error)) from error


async def _connect(urls: str) -> AbstractConnection:
    """Connect to the first node that takes us, in another order each time. Raises BrokerUnavailable.

    In another order, because a node may take connections and do nothing else: the next attempt leaves it.
    """
    addresses = broker_addresses(urls)
    refused: dict[str, str] = {}
    for url in random.sample(addresses, len(addresses)):
        try:
            connection = await aio_pika.connect(_with_heartbeat(url), timeout=limits.BROKER_CONNECT)
        except CONNECTION_EXCEPTIONS as error:
            refused[url] = text_of(error) if len(addresses) == 1 else f"{place_of(url)}: {text_of(error)}"
        else:
            if refused:
                log.warning("broker.nodes_refused", nodes=list(refused.values()))
            return connection
    raise BrokerUnavailable("; ".join(refused[url] for url in addresses))  # the same text in any order


def _with_heartbeat(url: str) -> str:
    """Return a node's address with our heartbeat, unless it names one: it finds a silent broker."""
    parts = urlsplit(url)
    if "heartbeat" in parse_qs(parts.query):
        return url
    query = "&".join(filter(None, [parts.query, f"heartbeat={limits.HEARTBEAT}"]))
    return urlunsplit(parts._replace(query=query))


def text_of(error: BaseException) -> str:
    """Return what an error of the broker is called and says."""
    return f"{type(error).__name__}: {error}"


class Asking:
    """One channel for all that is asked of the broker in a row, and another one after an error.

    It is not kept for later: RabbitMQ remembers permissions as long as a channel is open.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def ask(self, step: Step) -> None:
        """Run a step. Raises ChannelClosed, TimeoutError."""
        try:
            async with asyncio.timeout(limits.BROKER_ANSWER):
                if self._channel is None:
                    self._channel = await self._connection.channel()
                await step(self._channel)
        except BaseException:
            await self._close()  # an answer that comes late would be taken for the next one's
            raise

    async def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and not channel.is_closed:
            with suppress(*CONNECTION_EXCEPTIONS, TimeoutError):
                async with asyncio.timeout(limits.BROKER_CLOSE):
                    await channel.close()

    async def is_gone(self, queue: str) -> bool:
        """Return whether there is no such queue. Raises TimeoutError."""
        try:
            await self.ask(lambda channel: channel.declare_queue(queue, passive=True))
        except ChannelNotFoundEntity:
            return True
        except ChannelClosed:  # whatever it is, declaring will say so
            return False
        return False


async def node_at(address: str) -> str:
    """Return the version of the RabbitMQ node at an address. Raises what connecting raises."""
    connection = await aio_pika.connect(address, timeout=limits.BROKER_CONNECT)
    try:
        transport = connection.transport
        properties = {} if transport is None else transport.connection.server_properties or {}
    finally:
        await connection.close()
    version = properties.get("version")
    return f"RabbitMQ {version.decode(errors='replace') if isinstance(version, bytes) else version}"


async def usable_nodes(addresses: Sequence[str], service: str) -> int:
    """Return how many of the nodes can be used.

    Raises LookupError unless they are of one cluster: messages at another one than where they are consumed
    wait for the feed poller. Raises what the first said when none can be used.
    """
    found = await asyncio.gather(
        *(aio_pika.connect(address, timeout=limits.BROKER_CONNECT) for address in addresses),
        return_exceptions=True,
    )
    usable = {
        place_of(address): connection
        for address, connection in zip(addresses, found, strict=True)
        if not isinstance(connection, BaseException)
    }
    try:
        if not usable:
            raise next(failure for failure in found if isinstance(failure, BaseException))
        await _require_one_cluster(usable, service)
    finally:
        await asyncio.gather(*(connection.close() for connection in usable.values()))
    return len(usable)


async def _require_one_cluster(nodes: Mapping[str, AbstractConnection], service: str) -> None:
    """Find a queue of the first node at the others. Raises LookupError.

    It is its connection's alone: in the same cluster it is locked, elsewhere it is not found. A cluster's
    name does not tell: unless an operator chose one, each node has its own. The queue ends with the
    connection, and its name is one that the service's user may declare.
    """
    (first, connection), *others = nodes.items()
    if not others:
        return
    name = f"{service}.guests.{10**12 + secrets.randbelow(10**12)}"
    channel = await connection.channel()
    await channel.declare_queue(name, exclusive=True, auto_delete=True)
    elsewhere = [place for place, other in others if not await _has(other, name)]
    if elsewhere:
        raise LookupError(f"{' and '.join(elsewhere)} is of another cluster than {first}")


async def _has(connection: AbstractConnection, queue: str) -> bool:
    try:
        await (await connection.channel()).declare_queue(queue, passive=True)
    except ChannelLockedResource:
        return True
    except ChannelNotFoundEntity:
        return False
    return True
