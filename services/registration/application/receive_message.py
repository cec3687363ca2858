"""Apply identity's messages about login links."""

from __future__ import annotations

from pydantic import BaseModel

from registration.application.dependencies import Dependencies
from registration.domain.errors import GuestNotFound
from registration.domain.guest import Guest
from shared.event_log import Metadata, SideRow
from shared.messaging.envelope import Identifier, Message, data_of

IDENTITY = "identity"


class _Linked(BaseModel):
    """The account that identity linked."""

    account_id: Identifier


class _Refused(BaseModel):
    """The account that identity did not link; None: the one that was asked for."""

    account_id: Identifier | None = None
    reason: Identifier


async def receive_message(message: Message, inbox_row: SideRow, *, deps: Dependencies) -> None:
    """Apply one message of identity: the handler of registration's inbox.

    The inbox row is written also when the message changes nothing here. A message about an erased guest
    changes nothing. Raises VersionConflict (call it again), GuestNotFound (the guest was never registered
    here), and MalformedMessage for data that the message must not have.
    """
    guest = await deps.store.find(Guest, message.subject)
    if guest is None and not message.erased:
        raise GuestNotFound
    if guest is not None and not message.erased:
        _apply(message, guest, deps)
    metadata = Metadata(IDENTITY, message.correlation_id, causation_id=message.id)
    changed = [] if guest is None else [guest]
    await deps.store.save(*changed, metadata=metadata, side_rows=[inbox_row])


def _apply(message: Message, guest: Guest, deps: Dependencies) -> None:
    now = deps.clock.now()
    match message.type:
        case "login-account-linked.v1":
            guest.confirm_link(data_of(message, _Linked).account_id, too_late=False, now=now)
        case "login-account-linked-too-late.v1":
            guest.confirm_link(data_of(message, _Linked).account_id, too_late=True, now=now)
        case "login-account-link-refused.v1":
            refused = data_of(message, _Refused)
            guest.refuse_link(refused.account_id, refused.reason, now=now)
        case _:
            pass  # identity's other messages change nothing here
