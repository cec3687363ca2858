"""What the screen says of a guest, in the words of the counter (R13, R16)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from registration.domain.guest_state import GuestState
from registration.domain.subscriptions import subscription
from registration.domain.term import expiry_line, last_of_month, reregistration_preview, valid_header
from registration.domain.term_check import Status

CARD_NOT_VALID = "Pas niet geldig!"


@dataclass(frozen=True, slots=True)
class Display:
    """The words for a guest. What does not apply to its status is None.

    `expires_on`: the last day of the month of the row's end date. `card_notice` stands in red (R13).
    """

    header: str
    expires_on: date | None = None
    expiry_line: str | None = None
    card_notice: str | None = None
    reregistration_preview: str | None = None


def display(state: GuestState, today: date) -> Display:
    """Word a guest as it stands today; the current row's end date decides (R16)."""
    match state.status:
        case Status.VALID:
            return _running(state, valid_header(_row_end(state)))
        case Status.SUSPENDED:
            return _running(state, "Geblokkeerd")
        case Status.EXPIRED:
            months = subscription(state.subscription_code).tariff_months
            return Display(
                header=f"Ongeldig  Opgezegd, reden {state.reason}",
                card_notice=CARD_NOT_VALID,
                reregistration_preview=reregistration_preview(today, months),
            )
        case Status.DEREGISTERED if state.merged_into is not None:
            return Display(header="Samengevoegd")
        case Status.DEREGISTERED:
            return Display(header="Uitgeschreven", card_notice=CARD_NOT_VALID)
        case Status.ERASED:
            return Display(header="Persoonsgegevens gewist", card_notice=CARD_NOT_VALID)


def _running(state: GuestState, header: str) -> Display:
    end = _row_end(state)
    if end is None:
        return Display(header)
    return Display(header, expires_on=last_of_month(end), expiry_line=expiry_line(end))


def _row_end(state: GuestState) -> date | None:
    current = state.contributions.current
    return None if current is None else current.end
