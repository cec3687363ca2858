"""The HTTP app of identity."""

import asyncio

from identity.adapters.catalogues import Catalogues, SealedReferrals
from identity.api import actors, login_accounts, logins
from identity.api.problems import PROBLEM_TYPES
from identity.application.dependencies import ApplyNow, Dependencies
from shared.messaging.feed import LogFeed
from shared.web import operations_api
from shared.web.app import Operations, make_app
from shared.web.feed_api import add_feed
from shared.web.idempotency import IdempotencyKeys
from shared.web.openapi import DescribedApp
from shared.web.operations import ServiceOperations
from shared.web.security import TokenVerifier

DESCRIPTION = "Bepaalt wie er inlogt bij een gastbibliotheek, en koppelt inlogaccounts aan gastleners."


def identity_app(
    *,
    deps: Dependencies,
    apply_now: ApplyNow,
    catalogues: Catalogues,
    referrals: SealedReferrals,
    idempotency_keys: IdempotencyKeys,
    own_feed: LogFeed,
    verifier: TokenVerifier,
    service_operations: ServiceOperations,
    operations: Operations,
    telemetry: bool = False,
    contact: str | None = None,
    stopping: asyncio.Event | None = None,
) -> DescribedApp:
    """Build the app. `apply_now` is the inbox's method of that name, for the login barrier (ADR 0004).

    Set `stopping` when the server must stop: long polls end at once then.
    """
    app = make_app(
        title="Landelijk Lenen: identity",
        description=DESCRIPTION,
        problem_types=PROBLEM_TYPES,
        verifier=verifier,
        operations=operations,
        telemetry=telemetry,
        contact=contact,
    )
    app.state.deps = deps
    app.state.apply_now = apply_now
    app.state.catalogues = catalogues
    app.state.referrals = referrals
    app.state.idempotency_keys = idempotency_keys
    app.state.service_operations = service_operations
    for resource in (logins, login_accounts, actors):
        app.include_router(resource.router)
    app.include_router(operations_api.router)
    add_feed(app, own_feed, stopping, problems={})
    return app
