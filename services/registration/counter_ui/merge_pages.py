"""Ontdubbelen: find the other record of the same person, compare both, merge them (R18)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated
from uuid import UUID

from fastapi import Form, Request, Response

from registration.api.dependencies import DependenciesDep
from registration.api.problems import MERGE_OBSTACLES
from registration.application.dependencies import GuestAccount
from registration.application.find_login_account import show_accounts
from registration.application.merge_guests import Merge, MergeGuests, merge_guests, show_merge
from registration.application.show_guest import show_guest
from registration.counter_ui.auth import CounterClerkDep, CounterDirectoryDep
from registration.counter_ui.forms import FormWriteDep
from registration.counter_ui.pages import Translate, notify, page, pages, see_other, translator
from registration.domain.merge import MergeBlocked
from registration.domain.term import subscription
from registration.read_models.guest_directory import Search, asked_for
from shared.kernel.errors import english_sentence

router = pages("/gasten/{guest_id}/ontdubbelen")
MOST_FOUND = 25


@router.get("")
@router.api_route("/zoeken", methods=["GET", "POST"])
async def search(
    *,
    request: Request,
    guest_id: UUID,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    directory: CounterDirectoryDep,
    query: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Search the other record among the guests of the own organisation.

    A merged record shows a link to its survivor instead.
    """
    guest = await show_guest(guest_id, clerk.organisation, deps)
    words = asked_for(query)
    if words is None:
        return page(
            request,
            "merge_search.html",
            guest=guest,
            query=query,
            found=None,
            more=False,
            login_accounts="",
        )
    # One more than are shown: this record may be among them.
    found = await directory.page(Search(clerk.organisation, words, limit=MOST_FOUND + 1), query=query)
    others = [other for other in found.guests if other.guest_id != guest_id]
    return page(
        request,
        "merge_search.html",
        guest=guest,
        query=query,
        found=others[:MOST_FOUND],
        more=found.next_cursor is not None or len(others) > MOST_FOUND,
        login_accounts=found.login_accounts,
    )


@router.get("/{into}")
async def preview(
    request: Request, guest_id: UUID, into: UUID, clerk: CounterClerkDep, deps: DependenciesDep
) -> Response:
    """Show both records, and what a merge would do or why it is blocked."""
    shown = await show_merge(MergeGuests(guest_id, into), clerk.organisation, deps)
    accounts = await asyncio.gather(
        *(
            show_accounts(guest.guest_id, [guest.login_link.account_id], clerk.organisation, deps)
            for guest in (shown.guest, shown.into)
        )
    )
    return page(
        request,
        "merge_preview.html",
        merge=shown,
        blocked=_sentence(request, shown),
        account_of=_account_words({**accounts[0], **accounts[1]}, translator(request)),
        label_of=lambda row: subscription(row.subscription_code).label,
    )


@router.post("/{into}")
async def confirm(
    *,
    request: Request,
    guest_id: UUID,
    into: UUID,
    write: FormWriteDep,
    deps: DependenciesDep,
) -> Response:
    """Merge, then open the survivor. If the merge is blocked by now, the preview shows why."""
    try:
        await write(lambda context: merge_guests(MergeGuests(guest_id, into), context, deps))
    except MergeBlocked:
        return see_other(f"/gasten/{guest_id}/ontdubbelen/{into}")
    notify(request, "De twee inschrijvingen zijn samengevoegd.", "The two records were merged.")
    return see_other(f"/gasten/{into}")


def _account_words(accounts: Mapping[str, GuestAccount], translate: Translate) -> Callable[[str | None], str]:
    """Return a function that names a login account for a clerk, never by its id."""

    def words(account_id: str | None) -> str:
        account = accounts.get(account_id or "")
        if account is None:
            return translate("geen", "none")
        if account.state == "unavailable":
            return translate("nu niet op te vragen", "not available now")
        if not account.username:
            return translate("onbekend", "unknown")
        return f"{account.username} ({account.email})" if account.email else account.username

    return words


def _sentence(request: Request, merge: Merge) -> str | None:
    if merge.blocked is None:
        return None
    kind = type(merge.blocked)
    return translator(request)(MERGE_OBSTACLES[kind], english_sentence(kind))
