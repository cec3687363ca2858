"""Every form is answered by a redirect; what was filled in is kept on the server for the page that follows.

So neither Back nor a reload asks to send a form again, and nothing that was typed is lost with a session, a
language or a branch. The address of a page names its draft, which opens for its clerk only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID, uuid4

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ValidationError

from registration.adapters.staff_sessions import DraftTooLarge
from registration.counter_ui.auth import FormOwner, SignInNeeded, drafts_of, own_path, owner_of
from registration.counter_ui.i18n import Texts
from shared.web.problems import Problem

DRAFT, QUESTION = "concept", "vraag"
PAGE_FIELD = "next_path"
"""The field of every form that names the page of the form."""
_NOT_KEPT = frozenset({"csrf_token", PAGE_FIELD, "language", "desk_branch"})


@dataclass(frozen=True, slots=True)
class Kept:
    """What a page shows again. `asked`: the fields are a question, which the page answers.

    `errors`: field -> what is wrong with it. `refusal`: the problem that kept the form from being saved.
    `unsent`: the form came when it could not be carried out, so the clerk sends it again.
    """

    draft_id: UUID | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    asked: bool = False
    errors: Mapping[str, Texts] = field(default_factory=dict)
    refusal: Mapping[str, Any] | None = None
    unsent: bool = False


NOTHING = Kept()


def kept_of(request: Request) -> Kept:
    """Return what this page shows again; NOTHING if its address names no draft."""
    found: Kept = getattr(request.state, "kept", NOTHING)
    return found


F = TypeVar("F", bound=BaseModel)


def kept_form(request: Request, form: type[F], **defaults: str) -> F:
    """Return the form that this page shows again. What does not fit in a field is left out."""
    fields = defaults | dict(kept_of(request).fields)
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        wrong = {str(fault["loc"][0]) for fault in error.errors(include_url=False, include_input=False)}
        return form.model_validate({name: value for name, value in fields.items() if name not in wrong})


def is_stale(request: Request) -> bool:
    """Return whether the address names a draft that is not kept (any more)."""
    return getattr(request.state, "stale", False)


async def load_draft(request: Request) -> None:
    """Find the draft that the address of this page names, for `kept_of` and `is_stale`."""
    named = request.query_params.get(DRAFT, request.query_params.get(QUESTION))
    if named is None or (owner := owner_of(request)) is None:
        return
    draft_id = _id(named)
    found = await drafts_of(request).find(owner.who, draft_id) if draft_id else None
    if found is None:
        request.state.stale = True
    else:
        request.state.kept = Kept(draft_id, **found)


async def fields_of(request: Request) -> dict[str, str]:
    """Return what was filled in, without what belongs to the page around the form."""
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str) and name not in _NOT_KEPT}


async def keep(request: Request, path: str, kept: Kept, owner: FormOwner | None = None) -> Response:
    """Keep this, and send the browser to the page at `path`, which shows it.

    A form keeps its draft from page to page; a question is kept under a new id, so that Back shows the one
    before. `owner` None: the clerk who is signed in. Raises SignInNeeded, and Problem for a form that is too
    large.
    """
    owner = owner or owner_of(request)
    if owner is None:
        raise SignInNeeded
    draft_id = (None if kept.asked else await _named_by(request)) or uuid4()
    draft = {
        "fields": dict(kept.fields),
        "asked": kept.asked,
        "errors": {name: list(texts) for name, texts in kept.errors.items()},
        "refusal": kept.refusal,
        "unsent": kept.unsent,
    }
    try:
        await drafts_of(request).keep(owner.who, owner.session_id, draft_id, draft)
    except DraftTooLarge:
        raise Problem(
            413,
            "form-too-large",
            "Er is te veel ingevuld. Er is niets opgeslagen.",
            "Too much was filled in. Nothing was saved.",
        ) from None
    return RedirectResponse(_with_draft(path, QUESTION if kept.asked else DRAFT, draft_id), 303)


async def keep_form(
    request: Request, owner: FormOwner | None = None, *, without: frozenset[str] = frozenset()
) -> str:
    """Keep the form of this request as it is; return the path of its page, which shows it again.

    `owner`: whose it is, of a form that could not be carried out. Without a clerk, without anything filled
    in, or when the form is too large, nothing is kept.
    """
    path = await page_of_form(request)
    fields = {name: value for name, value in (await fields_of(request)).items() if name not in without}
    if owner is None and (not fields or owner_of(request) is None):
        return path
    try:
        return (await keep(request, path, Kept(fields=fields, unsent=owner is not None), owner)).headers[
            "location"
        ]
    except Problem:
        return path


async def page_of_form(request: Request) -> str:
    """Return the path of the page that has the form of this request; `/` if the form names none."""
    named = (await request.form()).get(PAGE_FIELD)
    return own_path(named if isinstance(named, str) else None)


async def forget_draft(request: Request) -> None:
    """Delete the draft of this form: it was saved."""
    owner, draft_id = owner_of(request), await _named_by(request)
    if owner and draft_id:
        await drafts_of(request).forget(owner.who, draft_id)


async def _named_by(request: Request) -> UUID | None:
    if request.method != "POST":
        return None
    return _id(dict(parse_qsl(urlsplit(await page_of_form(request)).query)).get(DRAFT, ""))


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _with_draft(path: str, name: str, draft_id: UUID) -> str:
    parts = urlsplit(path)
    query = [pair for pair in parse_qsl(parts.query) if pair[0] not in {DRAFT, QUESTION}]
    return f"{parts.path}?{urlencode([*query, (name, str(draft_id))])}"
