"""Actors: who is behind a login."""

from uuid import UUID

from fastapi import APIRouter, Depends

from identity.api.account_view import ActorJson, actor_json
from identity.api.dependencies import ACCOUNTS, TheIdentity
from identity.api.problems import KINDS
from identity.application.show_actor import show_actor
from identity.domain import errors
from shared.web.openapi import documented

router = APIRouter(prefix="/v1/actors", tags=["actors"], dependencies=[Depends(ACCOUNTS)])


@router.get(
    "/{actor_id}",
    summary="An actor with its links and logins",
    responses=documented(KINDS, errors.ActorNotFound),
)
async def show(actor_id: UUID, identity: TheIdentity) -> ActorJson:
    """Read from the streams of actor and account."""
    return actor_json(await show_actor(actor_id, identity))
