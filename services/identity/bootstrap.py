"""The composition root: the only place where identity's real dependencies are built."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

from identity.adapters.account_directory import (
    GuardedDirectory,
    HttpAccountDirectory,
    NoAccountDirectory,
)
from identity.adapters.catalogues import Catalogues, SealedReferrals
from identity.adapters.configuration import Configuration, live_configuration, settings_files
from identity.adapters.directory_settings import LdapDirectory, ScimDirectory, read_directory
from identity.adapters.messages import published_messages
from identity.adapters.registration_client import RegistrationApi
from identity.adapters.tables import SCHEMA, PostgresUsernames
from identity.application.apply_retention import apply_retention, preview_retention
from identity.application.dependencies import (
    AccountDirectory,
    Clock,
    Dependencies,
    Organisations,
    RegistrationFeed,
    SystemClock,
)
from identity.application.erase_guest import apply_erasures
from identity.application.receive_message import receive_message
from identity.read_models import VIEWS
from identity.read_models.unused_accounts import UnusedAccounts
from identity.settings import Settings
from shared.configuration import ConfigurationRecord, Follower, Live
from shared.event_log import (
    AggregateStore,
    ErasedAgain,
    ErasureLedger,
    EventLog,
    MasterKeys,
    Metadata,
    PostgresDataKeys,
    PostgresEventLog,
    make_mapper,
)
from shared.event_log.retention import BY_ITSELF, Retention
from shared.kernel.errors import ConfigurationError
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.feed import Feed, HttpFeed, LogFeed, ToMessage
from shared.messaging.inbox import Inbox
from shared.messaging.metrics import registries
from shared.messaging.queues import update_queue_metrics
from shared.messaging.signing import message_keys
from shared.platform.http_client import HttpClient
from shared.platform.leases import Leases
from shared.platform.lifecycle import Supervisor, Task, every
from shared.platform.postgres import Readiness, open_pool
from shared.platform.secrets import read_key_file
from shared.projections import LiveViews
from shared.projections.background_rebuild import BackgroundRebuilds
from shared.projections.live import require_live, update_view_metrics
from shared.projections.rebuild import Source
from shared.web.idempotency import IdempotencyKeys
from shared.web.security import JwksKeys, keys_of, token_verifier
from shared.web.service_token import service_token

if TYPE_CHECKING:
    from fastapi import FastAPI

    from shared.web.app import Check, Operations
    from shared.web.operations import LocalOperations

CONNECTIONS = {"min_size": 4, "max_size": 16}  # three of them are for the event log only
FORGET_KEYS_EVERY_SECONDS = 600.0
APPLY_ERASURES_EVERY_SECONDS = APPLY_RETENTION_EVERY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Replacements:
    """Collaborators that a test uses instead of the real ones. None: the real one."""

    registration: RegistrationFeed | None = None
    registration_feed: Feed | None = None
    directory: AccountDirectory | None = None
    clock: Clock | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """Identity with all its collaborators, open for use."""

    settings: Settings
    pool: asyncpg.Pool
    leases: Leases
    log: EventLog
    to_message: ToMessage
    deps: Dependencies
    own_feed: LogFeed
    registration_feed: Feed
    inbox: Inbox
    broker_faults: BrokerFaults
    idempotency_keys: IdempotencyKeys
    token_keys: JwksKeys
    catalogues: Catalogues
    rebuilds: BackgroundRebuilds
    live: Live[Configuration]


@asynccontextmanager
async def open_service(settings: Settings, replaced: Replacements = Replacements()) -> AsyncIterator[Service]:
    """Build all collaborators, and close them in the opposite order at the end."""
    async with AsyncExitStack() as opened:
        token = await opened.enter_async_context(service_token(settings))
        http = await opened.enter_async_context(HttpClient())
        url = settings.database_url.get_secret_value()
        pool = await opened.enter_async_context(await open_pool(url, **CONNECTIONS))
        log = await opened.enter_async_context(PostgresEventLog(pool))
        data_keys = PostgresDataKeys(pool, MasterKeys.from_file(settings.master_key_file))
        store = AggregateStore(log, make_mapper(), data_keys.unwrap)
        to_message, live = published_messages(store), live_configuration(settings)
        deps = Dependencies(
            store=store,
            data_keys=data_keys,
            registration=replaced.registration or RegistrationApi(settings.registration_url, http, token),
            directory=await opened.enter_async_context(open_directory(settings, http, replaced.directory)),
            usernames=PostgresUsernames(pool),
            organisations=Organisations(live.mapping(lambda now: now.isils)),
            person_ref_key=read_key_file(settings.person_ref_key_file)[0],
            clock=replaced.clock or SystemClock(),
            erasure_ledger=ErasureLedger(settings.erasure_ledger),
        )
        feed = replaced.registration_feed or HttpFeed(settings.registration_url, http, token)
        yield Service(
            settings=settings,
            pool=pool,
            leases=await opened.enter_async_context(Leases(pool)),
            log=log,
            to_message=to_message,
            deps=deps,
            own_feed=LogFeed(log, to_message, source=f"/identity/{log.log_id}"),
            registration_feed=feed,
            inbox=Inbox(pool, feed, partial(receive_message, deps=deps), other="registration"),
            broker_faults=BrokerFaults(pool),
            idempotency_keys=IdempotencyKeys(pool, deps.person_ref_key),
            token_keys=keys_of(settings.oidc_issuer, settings.oidc_jwks, http),
            catalogues=Catalogues(settings.catalogues, http, deps.clock),
            rebuilds=await opened.enter_async_context(BackgroundRebuilds(view_source(settings))),
            live=live,
        )


def http_app(service: Service, stopping: asyncio.Event | None = None) -> "FastAPI":
    """Build the HTTP app of an open service. `stopping` ends long polls when it is set."""
    from identity.api.app import identity_app  # noqa: PLC0415 - the worker starts without routes

    settings = service.settings
    referral_lifetime = timedelta(minutes=settings.referral_minutes)
    return identity_app(
        deps=service.deps,
        apply_now=service.inbox.apply_now,
        catalogues=service.catalogues,
        referrals=SealedReferrals(service.deps.person_ref_key, referral_lifetime, settings.counter_url),
        idempotency_keys=service.idempotency_keys,
        own_feed=service.own_feed,
        verifier=token_verifier(settings, service.token_keys),
        service_operations=operations_of(service),
        operations=_operations(service, {"token_keys": service.token_keys.ready}, worker=False),
        telemetry=settings.telemetry,
        contact=settings.contact,
        stopping=stopping,
    )


def operations_of(service: Service) -> "LocalOperations":
    """Return what operators see and do of this service."""
    from shared.configuration.operating import FilesInUse  # noqa: PLC0415
    from shared.web.operations import LocalOperations  # noqa: PLC0415 - the worker starts without routes

    return LocalOperations(
        pool=service.pool,
        inbox=service.inbox,
        other_feed=service.registration_feed,
        with_broker=service.settings.amqp_url is not None,
        all_views=VIEWS,
        rebuilds=service.rebuilds,
        files=FilesInUse(service.pool, partial(settings_files, service.settings)),
    )


def worker_http_app(service: Service, supervisor: Supervisor) -> "FastAPI":
    """Build the HTTP app of the worker: health and metrics."""
    from shared.messaging.transport import feed_check  # noqa: PLC0415 - see `_transport`
    from shared.web.app import worker_app  # noqa: PLC0415 - commands need no web framework

    with_broker = service.settings.amqp_url is not None
    checks = {
        "transport": service.broker_faults.require_none
        if with_broker
        else partial(feed_check, service.registration_feed),
        "tasks": supervisor.require_running,
    }
    return worker_app(
        token_verifier(service.settings, service.token_keys), _operations(service, checks, worker=True)
    )


def _operations(service: Service, checks: "Mapping[str, Check]", *, worker: bool) -> "Operations":
    from shared.web.app import Operations  # noqa: PLC0415

    return Operations(
        checks={"database": Readiness(service.pool, SCHEMA, "identity").require, **checks},
        warnings={"views": partial(require_live, service.pool, VIEWS)},
        updates=(
            service.inbox.parked.update_metrics,
            partial(update_queue_metrics, service.pool),
            partial(update_view_metrics, service.pool, VIEWS),
        ),
        registries=registries(worker=worker, broker=service.settings.amqp_url is not None),
    )


def worker_tasks(service: Service) -> Mapping[str, Task]:
    """Return the tasks of the worker, by name."""
    forget = partial(every, FORGET_KEYS_EVERY_SECONDS, service.idempotency_keys.forget_old)
    erase = partial(every, APPLY_ERASURES_EVERY_SECONDS, partial(apply_ledger, service))
    return {
        **_transport(service),
        **_views(service),
        "idempotency keys": forget,
        "erasures": erase,
        **_retention(service),
        **follower_tasks(service, "worker"),
    }


def follower_tasks(service: Service, kind: str) -> Mapping[str, Task]:
    """Return the task of each process that takes changed files of settings; `kind`: `api` or `worker`."""
    return {"configuration": Follower(service.live, ConfigurationRecord(service.pool), kind).run}


async def apply_ledger(service: Service, by: str = "erasure ledger") -> ErasedAgain:
    """Erase again what a restored backup brought back. `by`: who asks for it, if not the worker."""
    return await apply_erasures(Metadata(by, uuid4()), service.deps)


def _retention(service: Service) -> Mapping[str, Task]:
    # Several workers may run this at the same time: an erased account is not in the list any more.
    if (days := service.settings.retention_days) is None:
        return {}
    return {"retention": partial(every, APPLY_RETENTION_EVERY_SECONDS, partial(retention, service, days))}


async def retention(service: Service, days: int, by: str = BY_ITSELF, *, dry_run: bool = False) -> Retention:
    """Erase login accounts whose retention period of so many days is over; with `dry_run` only find them."""
    unused = UnusedAccounts(service.pool)
    if dry_run:
        return await preview_retention(days, unused, service.deps)
    return await apply_retention(days, unused, service.deps, by)


def view_source(settings: Settings) -> Source:
    """Return the source from which views are rebuilt and verified."""
    return Source(settings.database_url.get_secret_value(), MasterKeys.from_file(settings.master_key_file))


def _views(service: Service) -> Mapping[str, Task]:
    source = view_source(service.settings)
    return {"views": LiveViews(service.pool, service.log, source, VIEWS, service.leases).run}


def _transport(service: Service) -> Mapping[str, Task]:
    # The API neither sends nor receives messages: it starts without the client of the broker.
    from shared.messaging.transport import over_feed, over_rabbitmq  # noqa: PLC0415

    amqp_url = service.settings.amqp_url
    if amqp_url is None:
        return over_feed(service.leases, service.registration_feed, service.inbox)
    return over_rabbitmq(
        amqp_url.get_secret_value(),
        service.leases,
        service.registration_feed,
        service.inbox,
        log=service.log,
        to_message=service.to_message,
        service="identity",
        other="registration",
        keys=message_keys(service.settings),
        faults=service.broker_faults,
        unsigned_until=service.settings.unsigned_until,
    )


@asynccontextmanager
async def open_directory(
    settings: Settings, http: HttpClient, instead: AccountDirectory | None = None
) -> AsyncIterator[AccountDirectory]:
    """Open the account directory of the settings, or take one `instead`.

    Raises ConfigurationError or OSError.
    """
    if instead is not None:
        yield instead
        return
    if settings.account_directory is None:
        url = settings.account_directory_url
        yield NoAccountDirectory() if url is None else GuardedDirectory(HttpAccountDirectory(url, http))
        return
    if settings.account_directory_url is not None:
        raise ConfigurationError("set IDENTITY_ACCOUNT_DIRECTORY or IDENTITY_ACCOUNT_DIRECTORY_URL, not both")
    match read_directory(settings.account_directory, settings.private_hosts):
        case ScimDirectory() as scim:
            # Half a second, which only those wait for who have it.
            from identity.adapters.scim_directory import ScimAccountDirectory, scim_token  # noqa: PLC0415

            async with scim_token(scim) as token, HttpClient(base_url=scim.url) as of_directory:
                yield GuardedDirectory(ScimAccountDirectory(of_directory, token, scim.attributes))
        case LdapDirectory() as ldap:
            from identity.adapters.ldap_directory import LdapAccountDirectory  # noqa: PLC0415

            yield GuardedDirectory(LdapAccountDirectory(ldap))
        case described:
            yield GuardedDirectory(HttpAccountDirectory(described.url, http))
