"""The HTTP app of registration, put together from its resources."""

import asyncio

from registration.api import feed, guests, login_accounts, lookups, merges, operations, search
from registration.api.operations import RegistrationOperations
from registration.api.problems import PROBLEM_TYPES
from registration.application.dependencies import Dependencies
from registration.read_models.guest_directory import GuestDirectory
from registration.read_models.history import GuestHistory
from shared.messaging.feed import LogFeed
from shared.web import operations_api, webhooks_api
from shared.web.app import Operations, make_app
from shared.web.feed_api import add_feed
from shared.web.idempotency import IdempotencyKeys
from shared.web.openapi import DescribedApp
from shared.web.problem_handlers import problem_responses
from shared.web.security import TokenVerifier

DESCRIPTION = "Gastlenen bij een andere bibliotheek: inschrijven, koppelen, opnieuw inschrijven."


def registration_app(
    *,
    deps: Dependencies,
    idempotency_keys: IdempotencyKeys,
    own_feed: LogFeed,
    directory: GuestDirectory,
    history: GuestHistory,
    verifier: TokenVerifier,
    identity_subject: str,
    registration_operations: RegistrationOperations,
    process: Operations,
    telemetry: bool = False,
    contact: str | None = None,
    stopping: asyncio.Event | None = None,
) -> DescribedApp:
    """Return the app. `process`: health and metrics. `stopping`, when it is set, ends long polls at once."""
    app = make_app(
        title="Landelijk Lenen: registration",
        description=DESCRIPTION,
        problem_types=PROBLEM_TYPES,
        verifier=verifier,
        operations=process,
        telemetry=telemetry,
        contact=contact,
    )
    app.state.deps = deps
    app.state.identity_subject = identity_subject
    app.state.idempotency_keys = idempotency_keys
    app.state.directory = directory
    app.state.history = history
    app.state.registration_operations = registration_operations
    app.state.service_operations = registration_operations.own
    app.state.webhook_operations = registration_operations.webhooks
    for resource in (lookups, guests, merges, search, login_accounts, operations, feed):
        app.include_router(resource.router)
    app.include_router(guests.operator_router)
    app.include_router(operations_api.router)
    app.include_router(webhooks_api.router)
    add_feed(app, own_feed, stopping, problem_responses(PROBLEM_TYPES))
    return app
