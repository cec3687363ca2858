"""Personal data, destroyed at somebody's request (R19)."""

from uuid import UUID

from fastapi import APIRouter, Response

from registration.api.dependencies import TheOperator, TheRegistration
from registration.api.problems import KINDS
from registration.application.erase_personal_data import erase_personal_data
from registration.domain import errors
from shared.web.openapi import documented

router = APIRouter(prefix="/v1/guests", tags=["personal data"])


@router.delete(
    "/{guest_id}/personal-data",
    status_code=204,
    summary="Destroy all that is personal of a guest",
    responses=documented(KINDS, errors.GuestNotFound),
)
async def erase(
    guest_id: UUID, operator: TheOperator, registration: TheRegistration, response: Response
) -> None:
    """For good, here and at identity; the history stays without the person. Again: the same answer."""
    written = await erase_personal_data(guest_id, operator, registration)
    response.headers["Event-Position"] = str(written.position)
