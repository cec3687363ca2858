"""A plain pair of services: what registering and linking must cost with the packages that ours are made of.

FastAPI, the `eventsourcing` library's PostgreSQL application, aio-pika. Both check tokens, ask the home
library and look the account up in the directory, as ours do. They have no encryption, idempotency keys,
outbox, inbox or login barrier, and one view each.

One process for each API and for each worker, as ours:
`python -m tests.benchmarks.plain_pair registration-api`, with the settings of `Settings` in the environment.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

import aio_pika
import asyncpg
import httpx2
import orjson
import uvicorn
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import JSONTranscoder
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from joserfc import jwt
from joserfc.jwk import KeySet
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from registration.adapters.home_library.client import home_libraries
from registration.adapters.home_library.settings import load_directory
from registration.bootstrap import home_library_http
from registration.domain.verdict import Valid
from shared.event_log.aggregate_store import DateAsISO

EXCHANGES = {"registration": "plain.registration", "identity": "plain.identity"}
PREFETCH = 100
VIEWS = {
    "registration": """
        CREATE TABLE guests (guest_id uuid PRIMARY KEY, card text UNIQUE, name text, linked bool)
    """,
    "identity": "CREATE TABLE links (account_id text PRIMARY KEY, actor_id uuid, username text)",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """From the environment: PORT, DATABASE, BROKER, KEYS (a file), HOME_LIBRARIES (a file), DIRECTORY."""

    port: int
    database: str
    broker: str
    keys: Path
    home_libraries: Path
    directory: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        return cls(
            int(environment["PORT"]),
            environment["DATABASE"],
            environment["BROKER"],
            Path(environment["KEYS"]),
            Path(environment["HOME_LIBRARIES"]),
            environment["DIRECTORY"],
        )


class Guest(Aggregate):
    """A guest with what a registration stores."""

    @event("Registered")
    def __init__(
        self,
        *,
        organisation: str,
        card: str,
        name: str,
        birth_date: date | None,
        account_id: str,
        term_end: Any,
    ) -> None:
        self.organisation = organisation
        self.card = card
        self.name = name
        self.birth_date = birth_date
        self.account_id = account_id
        self.term_end = term_end
        self.linked = False

    @event("LinkConfirmed")
    def confirm(self) -> None:
        self.linked = True


class Actor(Aggregate):
    """A login account and its guest."""

    @event("Linked")
    def __init__(self, account_id: str, username: str, guest_id: str) -> None:
        self.account_id = account_id
        self.username = username
        self.guest_id = guest_id
        self.logged_in = False

    @staticmethod
    def create_id(account_id: str) -> UUID:
        return uuid5(NAMESPACE_URL, account_id)

    @event("FirstLogin")
    def log_in(self) -> None:
        self.logged_in = True


class Store(Application[UUID]):
    """The library's own application."""

    name = "plain"

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        transcoder.register(DateAsISO())


def store(url: str) -> Store:
    """Return the library's application over the database at this URL."""
    address = urlsplit(url)
    return Store(
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": address.path[1:],
            "POSTGRES_HOST": str(address.hostname),
            "POSTGRES_PORT": str(address.port),
            "POSTGRES_USER": str(address.username),
            "POSTGRES_PASSWORD": str(address.password),
            "POSTGRES_POOL_SIZE": "8",
            "POSTGRES_MAX_OVERFLOW": "0",
        }
    )


class Broker:
    """Publishes to one exchange and consumes from one queue that is bound to the other."""

    def __init__(self, service: str, channel: aio_pika.abc.AbstractChannel) -> None:
        self._service = service
        self._channel = channel

    async def publish(self, body: dict[str, Any]) -> None:
        """Publish durably, and wait for the broker's confirmation."""
        exchange = await self._channel.get_exchange(EXCHANGES[self._service], ensure=False)
        message = aio_pika.Message(orjson.dumps(body), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await exchange.publish(message, routing_key="")

    async def consume(self, handle: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """Handle what the other service publishes, PREFETCH messages at a time, and acknowledge each."""
        other = next(name for name in EXCHANGES if name != self._service)
        queue = await self._channel.declare_queue(
            f"plain.{self._service}", durable=True, arguments={"x-queue-type": "quorum"}
        )
        await queue.bind(EXCHANGES[other])

        async def received(message: AbstractIncomingMessage) -> None:
            async with message.process():
                await handle(orjson.loads(message.body))

        await queue.consume(received)


@asynccontextmanager
async def broker(url: str, service: str) -> AsyncIterator[Broker]:
    """Connect to the broker and declare both exchanges."""
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        for exchange in EXCHANGES.values():
            await channel.declare_exchange(exchange, aio_pika.ExchangeType.FANOUT, durable=True)
        yield Broker(service, channel)


class Verifier:
    """Checks the bearer token of a request."""

    def __init__(self, keys: Path) -> None:
        self._keys = KeySet.import_key_set(orjson.loads(keys.read_bytes()))

    async def __call__(self, authorization: Annotated[str, Header()]) -> str:
        token = jwt.decode(authorization.removeprefix("Bearer "), self._keys, algorithms=["EdDSA", "Ed25519"])
        if token.claims["exp"] < time.time():
            raise HTTPException(401)
        return str(token.claims["sub"])


class Account(BaseModel):
    choice: str
    account_id: str


class Registration(BaseModel):
    card_number: str
    home_isil: str
    branch: str
    subscription_code: str
    card_has_chip: bool
    identity_document_checked: bool
    login_account: Account


class Login(BaseModel):
    account_id: str
    organisation: str


@asynccontextmanager
async def _open_registration(app: FastAPI, settings: Settings) -> AsyncIterator[None]:
    async with AsyncExitStack() as opened:
        app.state.pool = await opened.enter_async_context(asyncpg.create_pool(settings.database))
        app.state.broker = await opened.enter_async_context(broker(settings.broker, "registration"))
        app.state.store = opened.enter_context(store(settings.database))
        yield


def registration_api(settings: Settings) -> FastAPI:
    """`POST /v1/guests`."""
    homes = home_libraries(load_directory(settings.home_libraries, os.environ), home_library_http)
    app = FastAPI(
        lifespan=lambda app: _open_registration(app, settings),
        dependencies=[Depends(Verifier(settings.keys))],
    )

    @app.post("/v1/guests", status_code=201)
    async def register(body: Registration, request: Request) -> dict[str, str]:
        state = request.app.state
        if await state.pool.fetchval("SELECT guest_id FROM guests WHERE card = $1", body.card_number):
            raise HTTPException(409)
        home = await homes.ask(body.home_isil, body.card_number)
        if (
            not isinstance(home, Valid)
            or home.details.birth_date is None
            or not isinstance(home.ends_on, date)
        ):
            raise HTTPException(422)
        account_id = body.login_account.account_id
        guest = Guest(
            organisation="1001",
            card=body.card_number,
            name=home.details.name,
            birth_date=home.details.birth_date,
            account_id=account_id,
            term_end=home.ends_on,
        )
        await run_in_threadpool(state.store.save, guest)
        await state.pool.execute(
            "INSERT INTO guests VALUES ($1, $2, $3, false)", guest.id, guest.card, guest.name
        )
        await state.broker.publish({"guest_id": str(guest.id), "account_id": account_id})
        return {"guest_id": str(guest.id)}

    return app


def identity_api(settings: Settings) -> FastAPI:
    """`POST /v1/logins`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(settings.database) as app.state.pool:
            with store(settings.database) as app.state.store:
                yield

    app = FastAPI(lifespan=lifespan, dependencies=[Depends(Verifier(settings.keys))])

    @app.post("/v1/logins")
    async def log_in(body: Login, request: Request) -> dict[str, Any]:
        state = request.app.state
        actor_id = await state.pool.fetchval(
            "SELECT actor_id FROM links WHERE account_id = $1", body.account_id
        )
        if actor_id is None:
            raise HTTPException(404)
        actor = await run_in_threadpool(state.store.repository.get, actor_id)
        if not actor.logged_in:
            actor.log_in()
            await run_in_threadpool(state.store.save, actor)
        return {"outcome": "recognised", "actor_id": str(actor_id)}

    return app


async def registration_worker(settings: Settings) -> None:
    """Confirm the links that identity made."""
    async with AsyncExitStack() as opened:
        pool = await opened.enter_async_context(asyncpg.create_pool(settings.database))
        guests = opened.enter_context(store(settings.database))
        messages = await opened.enter_async_context(broker(settings.broker, "registration"))

        async def confirm(linked: dict[str, Any]) -> None:
            guest: Guest = await run_in_threadpool(guests.repository.get, UUID(linked["guest_id"]))
            guest.confirm()
            await run_in_threadpool(guests.save, guest)
            await pool.execute("UPDATE guests SET linked = true WHERE guest_id = $1", guest.id)

        await messages.consume(confirm)
        await asyncio.Event().wait()


async def identity_worker(settings: Settings) -> None:
    """Link the account of each registered guest, after a look at the account directory."""
    async with AsyncExitStack() as opened:
        pool = await opened.enter_async_context(asyncpg.create_pool(settings.database))
        actors = opened.enter_context(store(settings.database))
        http = await opened.enter_async_context(httpx2.AsyncClient(base_url=settings.directory))
        messages = await opened.enter_async_context(broker(settings.broker, "identity"))

        async def link(registered: dict[str, Any]) -> None:
            account_id = registered["account_id"]
            account = (await http.get(f"/accounts/{account_id}")).raise_for_status().json()
            actor = Actor(account_id, account["username"], registered["guest_id"])
            await run_in_threadpool(actors.save, actor)
            await pool.execute(
                "INSERT INTO links VALUES ($1, $2, $3)", account_id, actor.id, account["username"]
            )
            await messages.publish({"guest_id": registered["guest_id"], "actor_id": str(actor.id)})

        await messages.consume(link)
        await asyncio.Event().wait()


def main() -> None:
    """Run one of the four processes until it is stopped."""
    settings, role = Settings.read(os.environ), sys.argv[1]
    if role.endswith("-api"):
        app = registration_api(settings) if role == "registration-api" else identity_api(settings)
        uvicorn.run(app, host="127.0.0.1", port=settings.port, loop="uvloop", log_level="warning")
    else:
        work = registration_worker if role == "registration-worker" else identity_worker
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work(settings))


if __name__ == "__main__":
    main()
