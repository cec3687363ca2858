"""The part of the composition root where the collaborators of the counter's pages are built."""

import asyncio
from typing import Protocol

import asyncpg

from registration.application.nights import Nights
from registration.counter_ui.app import CounterUi
from registration.counter_ui.operations import Operations
from registration.counter_ui.sign_in import SignIn
from registration.read_models.desk_overview import DeskOverviews
from registration.read_models.views import VIEWS
from registration.settings import Settings
from shared.key_files import read_key_file
from shared.messaging.feed import Feed
from shared.messaging.inbox import Inbox
from shared.projections.background import BackgroundRebuilds


class Service(Protocol):
    """What the pages need of the running service."""

    @property
    def settings(self) -> Settings: ...
    @property
    def pool(self) -> asyncpg.Pool: ...
    @property
    def inbox(self) -> Inbox: ...
    @property
    def identity_feed(self) -> Feed: ...
    @property
    def nights(self) -> Nights: ...
    @property
    def rebuilds(self) -> BackgroundRebuilds: ...


def sign_in_of(settings: Settings) -> SignIn:
    """How staff sign in; raises InsecureAddress, or LookupError for a setting that is missing."""
    if settings.oidc_client_id is None or settings.counter_url is None:
        raise LookupError("REGISTRATION_OIDC_CLIENT_ID and REGISTRATION_COUNTER_URL are needed")
    secret = settings.oidc_client_secret_file
    return SignIn(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=secret.read_text("utf-8").strip() if secret else None,
        address=settings.counter_url,
    )


def counter_ui_of(service: Service, stopping: asyncio.Event) -> CounterUi:
    """What the pages work with; `stopping` ends what is streamed to browsers."""
    settings = service.settings
    if settings.session_key_file is None:
        raise LookupError("REGISTRATION_SESSION_KEY_FILE is needed")
    operations = Operations(
        pool=service.pool,
        inbox=service.inbox,
        identity_feed=service.identity_feed,
        nights=service.nights,
        with_broker=settings.amqp_url is not None,
        all_views=VIEWS,
        rebuilds=service.rebuilds,
        stopping=stopping,
    )
    return CounterUi(
        sign_in=sign_in_of(settings),
        session_key=read_key_file(settings.session_key_file)[0],
        desk_overviews=DeskOverviews(service.pool),
        operations=operations,
    )
