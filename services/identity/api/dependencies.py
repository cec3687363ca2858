"""What routes are given: the collaborators of the use cases, and who is calling."""

from typing import Annotated

from fastapi import Depends, Request

from identity.application.dependencies import ApplyNow, Identity
from shared.event_log import Metadata
from shared.web.idempotency import Attempt, IdempotencyKeys, attempt_of
from shared.web.problems import correlation_id
from shared.web.security import Principal, requires

LOGIN = requires("login")
ACCOUNTS = requires("accounts")
FEED = requires("feed")


def _metadata(request: Request) -> Metadata:
    """Who causes what is done now; after the dependency that signs in."""
    principal: Principal = request.state.principal
    return Metadata(principal.subject, correlation_id(request))


def _identity(request: Request) -> Identity:
    found: Identity = request.app.state.identity
    return found


def _apply_now(request: Request) -> ApplyNow:
    found: ApplyNow = request.app.state.apply_now
    return found


def _keys(request: Request) -> IdempotencyKeys:
    found: IdempotencyKeys = request.app.state.idempotency_keys
    return found


TheMetadata = Annotated[Metadata, Depends(_metadata)]
TheIdentity = Annotated[Identity, Depends(_identity)]
TheBarrier = Annotated[ApplyNow, Depends(_apply_now)]
TheKeys = Annotated[IdempotencyKeys, Depends(_keys)]
TheAttempt = Annotated[Attempt | None, Depends(attempt_of)]
