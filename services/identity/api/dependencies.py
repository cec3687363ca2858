"""What routes are given: the collaborators of the use cases, and who is calling."""

from typing import Annotated

from fastapi import Depends, Request

from identity.application.dependencies import ApplyNow, Dependencies
from shared.event_log import Metadata
from shared.web.idempotency import IdempotencyKeys, IdempotentRequest, idempotent_request
from shared.web.problems import correlation_id
from shared.web.security import Principal, requires

LOGIN = requires("login")
ACCOUNTS = requires("accounts")
FEED = requires("feed")


def _metadata(request: Request) -> Metadata:
    """Who causes what is done now; after the dependency that signs in."""
    principal: Principal = request.state.principal
    return Metadata(principal.subject, correlation_id(request))


def _identity(request: Request) -> Dependencies:
    found: Dependencies = request.app.state.deps
    return found


def _apply_now(request: Request) -> ApplyNow:
    found: ApplyNow = request.app.state.apply_now
    return found


def _keys(request: Request) -> IdempotencyKeys:
    found: IdempotencyKeys = request.app.state.idempotency_keys
    return found


MetadataDep = Annotated[Metadata, Depends(_metadata)]
DependenciesDep = Annotated[Dependencies, Depends(_identity)]
BarrierDep = Annotated[ApplyNow, Depends(_apply_now)]
KeysDep = Annotated[IdempotencyKeys, Depends(_keys)]
IdempotentRequestDep = Annotated[IdempotentRequest | None, Depends(idempotent_request)]
