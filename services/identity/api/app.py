"""The HTTP app of identity, put together from its resources."""

import asyncio
from collections.abc import Mapping, Sequence

from fastapi import FastAPI

from identity.api import actors, login_accounts, logins
from identity.api.dependencies import FEED
from identity.api.problems import PROBLEM_TYPES
from identity.application.dependencies import ApplyNow, Dependencies
from shared.messaging.feed import LogFeed
from shared.web.app import Check, make_app
from shared.web.feed_api import feed_router
from shared.web.idempotency import IdempotencyKeys
from shared.web.security import TokenVerifier

DESCRIPTION = "Inloggen bij een gastbibliotheek: wie is het, en is het account op tijd gekoppeld."


def identity_app(
    *,
    deps: Dependencies,
    apply_now: ApplyNow,
    idempotency_keys: IdempotencyKeys,
    own_feed: LogFeed,
    verifier: TokenVerifier,
    checks: Mapping[str, Check],
    metrics_updates: Sequence[Check],
    stopping: asyncio.Event | None = None,
) -> FastAPI:
    """The app. `apply_now` is the inbox's own, for the login barrier (A6).

    Set `stopping` when the server is told to stop: long polls then end at once.
    """
    app = make_app(
        title="Landelijk Lenen: identity",
        description=DESCRIPTION,
        problem_types=PROBLEM_TYPES,
        verifier=verifier,
        checks=checks,
        metrics_updates=metrics_updates,
    )
    app.state.deps = deps
    app.state.apply_now = apply_now
    app.state.idempotency_keys = idempotency_keys
    for resource in (logins, login_accounts, actors):
        app.include_router(resource.router)
    app.include_router(feed_router(own_feed, FEED, stopping))
    return app
