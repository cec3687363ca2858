"""Tell identity under which username and e-mail address a new login account is to be opened (I2)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from registration.application.ports import Registration
from registration.domain.errors import GuestNotFound
from registration.domain.guest import Guest


@dataclass(frozen=True, slots=True)
class NewAccount:
    """The wishes for an account that does not exist yet; username and e-mail are personal."""

    account_id: str
    home_isil: str
    username: str
    email: str


async def new_account(
    guest_id: UUID, account_id: str | None, registration: Registration
) -> NewAccount | None:
    """Give what was asked for under this account id (None: the last one); None when never, or erased.

    Raises GuestNotFound.
    """
    guest = await registration.store.find(Guest, guest_id)
    if guest is None:
        raise GuestNotFound
    wishes = guest.state.new_accounts
    wanted = account_id or next(reversed(list(wishes)), None)
    sealed = wishes.get(wanted or "")
    key = await registration.data_keys.get(guest_id)
    if wanted is None or sealed is None or key is None:
        return None
    opened = key.open(sealed)
    return NewAccount(wanted, guest.state.home_isil, opened["username"], opened["email"])
