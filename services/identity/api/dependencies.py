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


async def _apply_now(request: Request) -> ApplyNow:
    found: ApplyNow = request.app.state.apply_now
    return found


async def _catalogues(request: Request) -> Catalogues:
    found: Catalogues = request.app.state.catalogues
    return found


async def _referrals(request: Request) -> SealedReferrals:
    found: SealedReferrals = request.app.state.referrals
    return found


async def _principal(request: Request) -> Principal:
    """Return the caller. A dependency of `requires` must have checked the token."""
    principal: Principal = request.state.principal
    return principal


PrincipalDep = Annotated[Principal, Depends(_principal)]


async def _metadata(request: Request, principal: PrincipalDep) -> Metadata:
    return Metadata(principal.subject, correlation_id(request))


MetadataDep = Annotated[Metadata, Depends(_metadata)]
DependenciesDep = Annotated[Dependencies, Depends(_dependencies)]
CataloguesDep = Annotated[Catalogues, Depends(_catalogues)]
ReferralsDep = Annotated[SealedReferrals, Depends(_referrals)]
BarrierDep = Annotated[ApplyNow, Depends(_apply_now)]
IdempotentWriteDep = Annotated[IdempotentWrite, Depends(idempotent_write)]
