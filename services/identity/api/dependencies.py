"""FastAPI dependencies of the routes: the collaborators of the use cases, and the caller."""

from typing import Annotated

from fastapi import Depends, Request

from identity.adapters.catalogues import Catalogues, SealedReferrals
from identity.application.dependencies import ApplyNow, Dependencies
from shared.event_log import Metadata
from shared.web.idempotency import IdempotentWrite, idempotent_write
from shared.web.problems import correlation_id
from shared.web.security import Principal, requires

LOGIN = requires("login")
ACCOUNTS = requires("accounts")


async def _dependencies(request: Request) -> Dependencies:
    found: Dependencies = request.app.state.deps
    return found


async def _metadata(request: Request) -> Metadata:
    """Return who calls. A dependency of `requires` must have checked the token."""
    principal: Principal = request.state.principal
    return Metadata(principal.subject, correlation_id(request))


class LoginCall:
    """The caller of a login, and what the route needs beside the use case.

    It is one dependency: FastAPI takes time for each, and a login is the most frequent request.
    """

    def __init__(self, request: Request) -> None:
        state = request.app.state
        self.principal: Principal = request.state.principal
        self.apply_now: ApplyNow = state.apply_now
        self.catalogues: Catalogues = state.catalogues
        self.referrals: SealedReferrals = state.referrals


async def _login_call(request: Request) -> LoginCall:
    return LoginCall(request)


MetadataDep = Annotated[Metadata, Depends(_metadata)]
DependenciesDep = Annotated[Dependencies, Depends(_dependencies)]
LoginCallDep = Annotated[LoginCall, Depends(_login_call)]
IdempotentWriteDep = Annotated[IdempotentWrite, Depends(idempotent_write)]
