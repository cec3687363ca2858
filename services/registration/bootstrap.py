"""The composition root: the only place where registration's real dependencies are built."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import httpx2

from registration.adapters.account_handles import SealedAccountHandles, SealedReferrals
from registration.adapters.card_prefixes import PostgresCardPrefixes
from registration.adapters.configuration import Configuration, live_configuration, settings_files
from registration.adapters.home_library.client import home_libraries
from registration.adapters.home_library.settings import Library, load_directory, tls_context
from registration.adapters.identity_client import IdentityApi, IdentityOperations
from registration.adapters.link_backlog import PostgresLinkBacklog
from registration.adapters.lookups import Limits, PostgresLookups
from registration.adapters.messages import GuestOrganisations, published_messages
from registration.adapters.nightly_checks import PostgresNightlyChecks, update_nightly_metrics
from registration.adapters.registration_index import PostgresRegistrations, PostgresTermChecks
from registration.adapters.staff_sessions import FormDrafts, StaffSessions
from registration.adapters.tables import SCHEMA
from registration.application.apply_retention import apply_retention, preview_retention
from registration.application.dependencies import (
    Clock,
    Dependencies,
    HomeLibraries,
    LoginAccounts,
    SystemClock,
)
from registration.application.erase_guest import apply_erasures
from registration.application.follow_aliases import AliasFollower
from registration.application.nightly_check import run_when_due
from registration.application.receive_message import receive_message
from registration.read_models import VIEWS
from registration.read_models.ended_guests import EndedGuests
from registration.read_models.guest_directory import DeskOverviews, GuestDirectory
from registration.read_models.history import GuestHistory
from registration.settings import Settings, environment
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
from shared.kernel.files import read_file
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.feed import Feed, HttpFeed, LogFeed, ToMessage
from shared.messaging.inbox import Inbox
from shared.messaging.metrics import registries
from shared.messaging.queues import update_queue_metrics
from shared.messaging.signing import message_keys
from shared.messaging.webhook_receivers import Receiver
from shared.messaging.webhook_state import WebhookState
from shared.messaging.webhooks import WebhookDelivery, Webhooks
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
from shared.web.issuer import claim_names
from shared.web.security import JwksKeys, keys_of, token_verifier
from shared.web.service_token import service_token

if TYPE_CHECKING:  # the worker must not wait for routes and pages
    from fastapi import FastAPI

    from registration.api.operations import RegistrationOperations
    from registration.counter_ui.app import CounterUi
    from registration.counter_ui.sign_in import SignIn
    from shared.web.app import Check, Operations
    from shared.web.operations import LocalOperations


CONNECTIONS = {"min_size": 4, "max_size": 16}  # the event log keeps three for itself
FORGET_KEYS_EVERY_SECONDS = FORGET_SESSIONS_EVERY_SECONDS = 600.0
APPLY_ERASURES_EVERY_SECONDS = APPLY_RETENTION_EVERY_SECONDS = 3600.0
FORGET_LOOKUPS_EVERY_SECONDS = 3600.0
CHECK_CLOCK_EVERY_SECONDS = 5.0  # an operator who asks for a check waits for its beginning


@dataclass(frozen=True, slots=True)
class Replacements:
    """Collaborators that a test uses instead of the real ones. None: the real one."""

    home_libraries: HomeLibraries | None = None
    login_accounts: LoginAccounts | None = None
    identity_feed: Feed | None = None
    clock: Clock | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """Registration with all its collaborators, open for use."""

    settings: Settings
    pool: asyncpg.Pool
    leases: Leases
    log: EventLog
    to_message: ToMessage
    deps: Dependencies
    nightly_checks: PostgresNightlyChecks
    staff_sessions: StaffSessions
    lookups: PostgresLookups
    own_feed: LogFeed
    identity_feed: Feed
    inbox: Inbox
    broker_faults: BrokerFaults
    idempotency_keys: IdempotencyKeys
    token_keys: JwksKeys
    rebuilds: BackgroundRebuilds
    identity_operations: IdentityOperations
    live: Live[Configuration]


@asynccontextmanager
async def open_service(settings: Settings, replaced: Replacements = Replacements()) -> AsyncIterator[Service]:
    """Build all collaborators, and close them in the opposite order at the end."""
    person_ref_key = read_key_file(settings.person_ref_key_file)[0]
    async with AsyncExitStack() as opened:
        token = await opened.enter_async_context(service_token(settings))
        http = await opened.enter_async_context(HttpClient())
        pool = await open_pool(settings.database_url.get_secret_value(), **CONNECTIONS)
        await opened.enter_async_context(pool)
        log = await opened.enter_async_context(PostgresEventLog(pool))
        identity = IdentityApi(settings.identity_url, http, token)
        lookups, live = lookups_of(settings, pool), live_configuration(settings)
        libraries = _home_libraries(replaced, live, opened)
        deps = _dependencies(
            settings, replaced, live, libraries, identity, lookups=lookups, log=log, pool=pool
        )
        to_message = published_messages(deps.store)
        feed = replaced.identity_feed or HttpFeed(settings.identity_url, http, token)
        yield Service(
            settings=settings,
            pool=pool,
            leases=await opened.enter_async_context(Leases(pool)),
            log=log,
            to_message=to_message,
            deps=deps,
            nightly_checks=PostgresNightlyChecks(pool),
            staff_sessions=StaffSessions(pool, deps.clock),
            lookups=lookups,
            own_feed=LogFeed(log, to_message, source=f"/registration/{log.log_id}"),
            identity_feed=feed,
            inbox=Inbox(pool, feed, partial(receive_message, deps=deps), other="identity", other_heals=True),
            broker_faults=BrokerFaults(pool),
            idempotency_keys=IdempotencyKeys(pool, person_ref_key),
            token_keys=keys_of(settings.oidc_issuer, settings.oidc_jwks, http),
            rebuilds=await opened.enter_async_context(BackgroundRebuilds(view_source(settings))),
            identity_operations=IdentityOperations(settings.identity_url, http, token),
            live=live,
        )


def _dependencies(
    settings: Settings,
    replaced: Replacements,
    live: Live[Configuration],
    libraries: HomeLibraries,
    identity: LoginAccounts,
    *,
    lookups: PostgresLookups,
    log: EventLog,
    pool: asyncpg.Pool,
) -> Dependencies:
    data_keys = PostgresDataKeys(pool, MasterKeys.from_file(settings.master_key_file))
    clock = replaced.clock or SystemClock()
    person_ref_key = read_key_file(settings.person_ref_key_file)[0]
    handle_lifetime = timedelta(minutes=settings.account_handle_minutes)
    return Dependencies(
        store=AggregateStore(log, make_mapper(), data_keys.unwrap),
        data_keys=data_keys,
        home_libraries=libraries,
        card_prefixes=PostgresCardPrefixes(pool),
        login_accounts=replaced.login_accounts or identity,
        account_handles=SealedAccountHandles(read_key_file(settings.master_key_file), handle_lifetime, clock),
        referrals=SealedReferrals(person_ref_key, clock),
        registrations=PostgresRegistrations(pool),
        guests_by_person=GuestDirectory(pool),
        term_checks=PostgresTermChecks(pool),
        link_backlog=PostgresLinkBacklog(pool),
        lookups=lookups,
        organisations=live.mapping(lambda now: now.organisations),
        isil_aliases=live.mapping(lambda now: now.directory.aliases),
        home_library_names=live.mapping(lambda now: now.home_library_names),
        person_ref_key=person_ref_key,
        clock=clock,
        erasure_ledger=ErasureLedger(settings.erasure_ledger),
        nightly_not_found_percent=settings.nightly_not_found_percent,
    )


def _home_libraries(
    replaced: Replacements, live: Live[Configuration], opened: AsyncExitStack
) -> HomeLibraries:
    """Return the home libraries, which follow the settings in use."""
    if replaced.home_libraries is not None:
        return replaced.home_libraries
    libraries = home_libraries(live.now.value.directory, home_library_http)
    live.tell(lambda now: libraries.replace(now.directory))
    opened.push_async_callback(libraries.close)
    return libraries


def home_library_http(library: Library) -> HttpClient:
    """Return the HTTP client of one home library. Nothing of it is shared with another library."""
    limits = httpx2.Limits(max_connections=library.connections, keepalive_expiry=library.idle_seconds)
    seconds = httpx2.Timeout(library.answer_seconds, connect=library.connect_seconds)
    context = tls_context(library.tls_ca_file, verify=library.tls_verify) if library.uses_tls else None
    return HttpClient(verify=context, limits=limits, timeout=seconds)


def lookups_of(settings: Settings, pool: asyncpg.Pool) -> PostgresLookups:
    """Return the record of look-ups in this database (R22)."""
    limits = Limits(settings.lookups_per_minute, settings.lookups_per_hour)
    return PostgresLookups(pool, read_key_file(settings.person_ref_key_file)[0], limits)


def http_app(service: Service, stopping: asyncio.Event | None = None) -> "FastAPI":
    """Build the HTTP app of an open service, with the counter's pages when staff can sign in."""
    from registration.api.app import registration_app  # noqa: PLC0415 - the worker starts without routes
    from registration.counter_ui.app import add_counter_ui  # noqa: PLC0415

    app = registration_app(
        deps=service.deps,
        idempotency_keys=service.idempotency_keys,
        own_feed=service.own_feed,
        directory=GuestDirectory(service.pool),
        history=GuestHistory(service.pool, service.deps.data_keys),
        verifier=token_verifier(service.settings, service.token_keys),
        identity_subject=service.settings.identity_subject,
        registration_operations=registration_operations_of(service),
        process=_operations(service, {"token_keys": service.token_keys.ready}, worker=False),
        telemetry=service.settings.telemetry,
        contact=service.settings.contact,
        stopping=stopping,
    )
    if service.settings.oidc_client_id:
        add_counter_ui(app, counter_ui_of(service, stopping or asyncio.Event()))
    return app


def operations_of(service: Service) -> "LocalOperations":
    """Return what operators see and do of this service."""
    from shared.configuration.operating import FilesInUse  # noqa: PLC0415
    from shared.web.operations import LocalOperations  # noqa: PLC0415 - the worker starts without routes

    return LocalOperations(
        pool=service.pool,
        inbox=service.inbox,
        other_feed=service.identity_feed,
        with_broker=service.settings.amqp_url is not None,
        all_views=VIEWS,
        rebuilds=service.rebuilds,
        files=FilesInUse(service.pool, partial(settings_files, service.settings)),
    )


def registration_operations_of(service: Service) -> "RegistrationOperations":
    """Return what operators see and do of registration beyond what both services have."""
    from registration.api.operations import RegistrationOperations  # noqa: PLC0415
    from shared.web.webhooks_api import WebhookOperations  # noqa: PLC0415

    return RegistrationOperations(
        own=operations_of(service),
        nightly_checks=service.nightly_checks,
        card_prefixes=PostgresCardPrefixes(service.pool),
        lookups=service.lookups,
        webhooks=WebhookOperations(WebhookState(service.pool)),
        directory=lambda: load_directory(service.settings.home_libraries, environment()),
        http_client_of=home_library_http,
    )


def worker_http_app(service: Service, supervisor: Supervisor) -> "FastAPI":
    """Build the HTTP app of the worker: health and metrics."""
    from shared.messaging.transport import feed_check  # noqa: PLC0415 - see `_transport`
    from shared.web.app import worker_app  # noqa: PLC0415 - commands need no web framework

    with_broker = service.settings.amqp_url is not None
    checks = {
        "transport": service.broker_faults.require_none
        if with_broker
        else partial(feed_check, service.identity_feed),
        "tasks": supervisor.require_running,
    }
    return worker_app(
        token_verifier(service.settings, service.token_keys), _operations(service, checks, worker=True)
    )


def _operations(service: Service, checks: "Mapping[str, Check]", *, worker: bool) -> "Operations":
    from shared.web.app import Operations  # noqa: PLC0415

    return Operations(
        checks={"database": Readiness(service.pool, SCHEMA, "registration").require, **checks},
        warnings={"views": partial(require_live, service.pool, VIEWS)},
        updates=(
            service.inbox.parked.update_metrics,
            partial(update_queue_metrics, service.pool),
            partial(update_view_metrics, service.pool, VIEWS),
            partial(update_nightly_metrics, service.nightly_checks),
            partial(WebhookState(service.pool).update_metrics, lambda: service.live.now.value.receivers),
        ),
        registries=registries(worker=worker, broker=service.settings.amqp_url is not None),
    )


def sign_in_of(settings: Settings) -> "SignIn":
    """Return the sign-in of staff. Raises InsecureAddress, or LookupError for a missing setting."""
    from registration.counter_ui.sign_in import SignIn  # noqa: PLC0415

    if settings.oidc_client_id is None or settings.counter_url is None:
        raise LookupError("REGISTRATION_OIDC_CLIENT_ID and REGISTRATION_COUNTER_URL are needed")
    secret = settings.oidc_client_secret_file
    return SignIn(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=read_file(secret).strip() if secret else None,
        address=settings.counter_url,
        names=claim_names(settings),
        name_claim=settings.oidc_name_claim,
        scope=settings.oidc_request_scope,
    )


def counter_ui_of(service: Service, stopping: asyncio.Event) -> "CounterUi":
    """Return the dependencies of the pages. `stopping` ends streams to browsers when it is set."""
    from registration.counter_ui.app import CounterUi  # noqa: PLC0415
    from registration.counter_ui.operator_pages import Operations  # noqa: PLC0415

    settings = service.settings
    if settings.session_key_file is None:
        raise LookupError("REGISTRATION_SESSION_KEY_FILE is needed")
    operations = Operations(
        registration=registration_operations_of(service),
        identity=service.identity_operations,
        names=GuestDirectory(service.pool).names,
        sessions=service.staff_sessions,
        stopping=stopping,
    )
    return CounterUi(
        sign_in=sign_in_of(settings),
        session_key=read_key_file(settings.session_key_file)[0],
        staff_sessions=service.staff_sessions,
        form_drafts=FormDrafts(service.pool, read_key_file(settings.master_key_file), service.deps.clock),
        desk_overviews=DeskOverviews(service.pool),
        operations=operations,
    )


def worker_tasks(service: Service) -> Mapping[str, Task]:
    """Return the tasks of the worker, by name."""
    forget = partial(every, FORGET_KEYS_EVERY_SECONDS, service.idempotency_keys.forget_old)
    days = service.settings.lookups_retention_days
    sessions = partial(every, FORGET_SESSIONS_EVERY_SECONDS, partial(service.staff_sessions.forget_old, days))
    forget_lookups = partial(service.lookups.forget_old, days)
    erase = partial(every, APPLY_ERASURES_EVERY_SECONDS, partial(apply_ledger, service))
    follower = AliasFollower(service.deps, service.leases)
    return {
        **_transport(service),
        **_views(service),
        "aliases": follower.keep_following,
        "nightly check": _nightly_check(service),
        "idempotency keys": forget,
        "staff sessions": sessions,
        "erasures": erase,
        "lookups": partial(every, FORGET_LOOKUPS_EVERY_SECONDS, forget_lookups),
        **_retention(service),
        **follower_tasks(service, "worker"),
        "webhooks": webhooks_of(service).run,
    }


def webhooks_of(service: Service) -> Webhooks:
    """Return the deliveries to the receivers of webhooks that the settings in use name."""
    state, leases = WebhookState(service.pool), Leases(service.pool)
    organisations = GuestOrganisations(service.pool, service.to_message)

    def delivery_to(receiver: Receiver) -> WebhookDelivery:
        return WebhookDelivery(
            receiver,
            log=service.log,
            to_message=service.to_message,
            organisations_of=organisations,
            state=state,
            leases=leases,
        )

    return Webhooks(lambda: service.live.now.value.receivers, delivery_to)


def follower_tasks(service: Service, kind: str) -> Mapping[str, Task]:
    """Return the task of each process that takes changed files of settings; `kind`: `api` or `worker`."""
    return {"configuration": Follower(service.live, ConfigurationRecord(service.pool), kind).run}


async def apply_ledger(service: Service, by: str = "erasure ledger") -> ErasedAgain:
    """Erase again what a restored backup brought back. `by`: who asks for it, if not the worker."""
    return await apply_erasures(Metadata(by, uuid4()), service.deps)


def _nightly_check(service: Service) -> Task:
    starts_at = service.settings.nightly_at
    look = partial(run_when_due, starts_at, service.nightly_checks, service.leases, service.deps)
    return partial(every, CHECK_CLOCK_EVERY_SECONDS, look)


def _retention(service: Service) -> Mapping[str, Task]:
    # Several workers may run this at the same time: an erased guest is not in the list any more.
    if (days := service.settings.retention_days) is None:
        return {}
    return {"retention": partial(every, APPLY_RETENTION_EVERY_SECONDS, partial(retention, service, days))}


async def retention(service: Service, days: int, by: str = BY_ITSELF, *, dry_run: bool = False) -> Retention:
    """Erase guests whose retention period of so many days is over; with `dry_run` only find them."""
    ended = EndedGuests(service.pool)
    if dry_run:
        return await preview_retention(days, ended, service.deps)
    return await apply_retention(days, ended, service.deps, by)


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
        return over_feed(service.leases, service.identity_feed, service.inbox)
    return over_rabbitmq(
        amqp_url.get_secret_value(),
        service.leases,
        service.identity_feed,
        service.inbox,
        log=service.log,
        to_message=service.to_message,
        service="registration",
        other="identity",
        keys=message_keys(service.settings),
        faults=service.broker_faults,
        unsigned_until=service.settings.unsigned_until,
    )
