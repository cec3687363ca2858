"""Actions on a guest's page: ask home, logins, chip and preferences, deregister, erase (R19)."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import Form, Request, Response

from registration.api.dependencies import DependenciesDep
from registration.application.change_chip import change_chip
from registration.application.change_preferences import change_preferences
from registration.application.check_term import WHILE_A_CLERK_WAITS, check_term
from registration.application.dependencies import Context, Dependencies
from registration.application.deregister_guest import deregister_guest
from registration.application.erase_guest import erase_personal_data
from registration.application.link_login_account import (
    merge_login_actors,
    request_account_link,
    show_actor_merge,
    unlink_login_account,
)
from registration.application.repository import load_guest
from registration.application.show_guest import show_guest
from registration.counter_ui.account_search import TAKEN, Searched, account_chosen, patron_of, search_account
from registration.counter_ui.auth import CounterClerkDep, OperatorStaffDep, StaffDep, needs
from registration.counter_ui.drafts import kept_of
from registration.counter_ui.forms import (
    AccountForm,
    FormWriteDep,
    PreferencesForm,
    ReasonForm,
    TypedReason,
    fault_of_reason,
)
from registration.counter_ui.i18n import Texts
from registration.counter_ui.pages import again, kept_refusal, notify, page, pages, see_other
from registration.domain.errors import UsernameTaken
from registration.domain.guest_state import Preferences
from registration.domain.login_link import LoginAccountChoice
from shared.event_log import CommandResult, Metadata
from shared.kernel.text import require_text
from shared.web.problems import correlation_id

router = pages("/gasten/{guest_id:uuid}")
NOT_CONFIRMED: Texts = ("Vink aan dat u het zeker weet.", "Tick the box if you are sure.")
Chosen = LoginAccountChoice | Searched[AccountForm] | None
Step = Annotated[Literal["zoek", "koppel", "opslaan"], Form()]
EXPIRED_BY_HOME = (
    "De thuisbibliotheek is geraadpleegd: het abonnement is beëindigd.",
    "The home library was asked: the subscription has ended.",
)
SELF_SERVICE = (
    "De pas heeft een chip: zelfservice kan.",
    "The card has a chip: self-service is possible.",
)
COUNTER_ONLY = (
    "De pas heeft geen chip: lenen kan alleen aan de balie.",
    "The card has no chip: borrowing is possible at the counter only.",
)


@router.post("/thuischeck")
async def ask_home(
    request: Request, clerk: CounterClerkDep, guest_id: UUID, write: FormWriteDep, deps: DependenciesDep
) -> Response:
    """Ask the home library now, then show the guest with the result."""
    await write(lambda context: check_term(guest_id, context, deps, within=WHILE_A_CLERK_WAITS))
    if (await show_guest(guest_id, clerk.organisation, deps)).status == "expired":
        notify(request, *EXPIRED_BY_HOME)  # the page asks once more, and that changes nothing (R13)
    else:
        notify(request, "De thuisbibliotheek is geraadpleegd.", "The home library was asked.")
    return see_other(f"/gasten/{guest_id}#thuisbibliotheek")


@router.post("/koppelen")
async def link(
    *,
    request: Request,
    clerk: CounterClerkDep,
    write: FormWriteDep,
    deps: DependenciesDep,
    guest_id: UUID,
    account: Annotated[AccountForm, Form()],
    step: Step = "opslaan",
) -> Response:
    """Inlogaccount koppelen: search the account, take it (Koppelen), or save the link (R17)."""
    guest, by = await show_guest(guest_id, clerk.organisation, deps), clerk.context()
    patron = await patron_of(guest, deps)
    here = f"/gasten/{guest_id}?tab=inlogaccount"
    try:
        if step == "zoek":
            chosen: Chosen = await search_account(account, patron, by, deps)
        else:
            if step == "koppel":  # it also saves: there is nothing else on this form
                account = account.model_copy(update={"linked": True})
            chosen = await account_chosen(account, patron, by, deps)
        if isinstance(chosen, Searched):
            return await again(request, here, chosen.form, errors=chosen.errors)
        await write(_linking(guest_id, chosen, deps))
    except UsernameTaken:
        return await again(request, here, account, errors={"new_username": TAKEN})
    except Exception as error:  # the form keeps the username that was typed
        return await again(request, here, account, refused=error)
    notify(request, "De koppeling is aangevraagd.", "The link was requested.")
    return see_other(here + (f"&referral={quote(account.referral)}" if account.referral else ""))


@router.get("/ontkoppelen")
async def unlink_form(
    request: Request, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID
) -> Response:
    """Ask for the reason (R21)."""
    guest = await show_guest(guest_id, clerk.organisation, deps)
    return page(request, "with_reason.html", guest=guest, action="ontkoppelen", **_reason_so_far(request))


@router.post("/ontkoppelen")
async def unlink(
    *,
    request: Request,
    guest_id: UUID,
    write: FormWriteDep,
    deps: DependenciesDep,
    reason: TypedReason = "",
) -> Response:
    """Unlink the wrong login account, with the reason (R21)."""
    return await _with_reason(
        request,
        reason,
        lambda why: write(lambda context: unlink_login_account(guest_id, why, context, deps)),
        done=("Het inlogaccount is ontkoppeld.", "The login account was unlinked."),
        then=f"/gasten/{guest_id}?tab=inlogaccount",
    )


@router.get("/inlogs-samenvoegen")
async def merge_actors_form(
    request: Request, staff: StaffDep, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID
) -> Response:
    """Show both actors behind a link that is too late, and ask for the reason of their merge (I6)."""
    needs(staff, "accounts")
    merge = await show_actor_merge(guest_id, clerk.organisation, deps)
    return page(
        request,
        "actor_merge.html",
        guest=await show_guest(guest_id, clerk.organisation, deps),
        actor=merge.actor.seen_from(clerk.organisation),
        into=merge.into.seen_from(clerk.organisation),
        birth_dates=merge.birth_dates,
        blocked=merge.blocked is not None,
        **_reason_so_far(request),
    )


@router.post("/inlogs-samenvoegen")
async def merge_actors(
    *,
    request: Request,
    guest_id: UUID,
    staff: StaffDep,
    write: FormWriteDep,
    deps: DependenciesDep,
    reason: TypedReason = "",
) -> Response:
    """Merge the two actors, with the reason (I6)."""
    needs(staff, "accounts")
    return await _with_reason(
        request,
        reason,
        lambda why: write(lambda context: merge_login_actors(guest_id, why, context, deps)),
        done=("De twee inlogs zijn samengevoegd.", "The two logins were merged."),
        then=f"/gasten/{guest_id}?tab=inlogaccount",
    )


@router.get("/chip")
async def chip_form(
    request: Request, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID
) -> Response:
    """Ask for the reason (R21)."""
    guest = await show_guest(guest_id, clerk.organisation, deps)
    return page(request, "with_reason.html", guest=guest, action="chip", **_reason_so_far(request))


@router.post("/chip")
async def correct_chip(
    *,
    request: Request,
    guest_id: UUID,
    card_has_chip: Annotated[bool, Form()],
    write: FormWriteDep,
    deps: DependenciesDep,
    reason: TypedReason = "",
) -> Response:
    """Correct whether the card has a chip, with the reason (R9, R21)."""
    return await _with_reason(
        request,
        reason,
        lambda why: write(lambda context: change_chip(guest_id, card_has_chip, why, context, deps)),
        done=SELF_SERVICE if card_has_chip else COUNTER_ONLY,
        then=f"/gasten/{guest_id}?tab=passen",
    )


@router.get("/uitschrijven")
async def deregister_form(
    request: Request, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID
) -> Response:
    """Ask for the reason (R21)."""
    guest = await show_guest(guest_id, clerk.organisation, deps)
    return page(request, "with_reason.html", guest=guest, action="uitschrijven", **_reason_so_far(request))


@router.post("/uitschrijven")
async def deregister(
    *,
    request: Request,
    guest_id: UUID,
    write: FormWriteDep,
    deps: DependenciesDep,
    reason: TypedReason = "",
) -> Response:
    """Deregister the guest, with the reason (R21)."""
    return await _with_reason(
        request,
        reason,
        lambda why: write(lambda context: deregister_guest(guest_id, why, context, deps)),
        done=("De gastlener is uitgeschreven.", "The guest was deregistered."),
        then=f"/gasten/{guest_id}",
    )


def _reason_so_far(request: Request) -> dict[str, Any]:
    """Return what is wrong with the reason that was typed, for the page that asks for it."""
    errors, refusal = kept_of(request).errors, kept_refusal(request)
    status_code = refusal.status if refusal else 422 if errors else 200
    return {"errors": errors, "refusal": refusal, "status_code": status_code}


async def _with_reason(
    request: Request,
    reason: str,
    carry_out: Callable[[str], Awaitable[CommandResult]],
    *,
    done: Texts,
    then: str,
) -> Response:
    """Do it for this reason, and go to the path `then`. After any refusal the form keeps the reason."""
    form = ReasonForm(reason=reason)
    if wrong := fault_of_reason(reason):
        return await again(request, request.url.path, form, errors={"reason": wrong})
    try:
        await carry_out(require_text(reason))
    except Exception as error:  # the form keeps the reason
        return await again(request, request.url.path, form, refused=error)
    notify(request, *done)
    return see_other(then)


@router.post("/voorkeuren")
async def prefer(
    request: Request,
    guest_id: UUID,
    form: Annotated[PreferencesForm, Form()],
    write: FormWriteDep,
    deps: DependenciesDep,
) -> Response:
    """Keep what the guest wants; a consent ends by the same form as it began (R27)."""
    wanted = form.preferences() or Preferences()
    await write(lambda context: change_preferences(guest_id, wanted, context, deps))
    notify(request, "De voorkeuren zijn opgeslagen.", "The preferences were saved.")
    return see_other(f"/gasten/{guest_id}")


@router.get("/wissen")
async def erase_form(
    request: Request, staff: OperatorStaffDep, deps: DependenciesDep, guest_id: UUID
) -> Response:
    """Show what will be destroyed permanently (R19)."""
    guest, errors = await show_guest(guest_id, staff.organisation, deps), kept_of(request).errors
    return page(request, "erase.html", status_code=422 if errors else 200, guest=guest, errors=errors)


@router.post("/wissen")
async def erase(
    request: Request,
    staff: OperatorStaffDep,
    deps: DependenciesDep,
    guest_id: UUID,
    confirmed: Annotated[bool, Form()] = False,
) -> Response:
    """Destroy the personal data (R19). Repeating it changes nothing, so the form has no idempotency key."""
    await load_guest(guest_id, staff.organisation, deps)
    if not confirmed:
        return await again(request, f"/gasten/{guest_id}/wissen", errors={"confirmed": NOT_CONFIRMED})
    await erase_personal_data(guest_id, Metadata(staff.subject, correlation_id(request)), deps)
    notify(request, "De persoonsgegevens zijn gewist.", "The personal data was erased.")
    return see_other(f"/gasten/{guest_id}" if "counter" in staff.scopes else "/beheer")


def _linking(
    guest_id: UUID, choice: LoginAccountChoice | None, deps: Dependencies
) -> Callable[[Context], Awaitable[CommandResult]]:
    if choice is None:
        raise ValueError("a link without an account")
    return lambda context: request_account_link(guest_id, choice, context, deps)
