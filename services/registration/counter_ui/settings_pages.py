"""The operators' pages of files of settings: mistakes, who uses what, who changed what, read them again."""

from __future__ import annotations

from fastapi import Depends, Request, Response

from registration.adapters.identity_client import IdentityRefuses, IdentitySilent
from registration.counter_ui.auth import OperatorStaffDep, installation_staff, operator_staff
from registration.counter_ui.drafts import kept_of
from registration.counter_ui.forms import ReasonForm, TypedReason, fault_of_reason
from registration.counter_ui.operator_actions import NO_REASON
from registration.counter_ui.operator_pages import OperationsDep, ServiceDep, ServiceName
from registration.counter_ui.pages import again, notify, page, pages, problem_of, see_other, sentence_of
from shared.kernel.text import require_text
from shared.web.configuration_api import ConfigurationJson, ReloadedJson
from shared.web.problems import Problem

router = pages("/beheer", Depends(operator_staff))
_INSTALLATION = [Depends(installation_staff)]


def _address(service: ServiceName) -> str:
    return "/beheer/instellingen" + ("?dienst=identity" if service == "identity" else "")


@router.get("/instellingen")
async def configuration(request: Request, operations: OperationsDep, service: ServiceDep) -> Response:
    """Show the files of one service, which process uses what, and who changed what."""
    found: ConfigurationJson | None = None
    problem: Problem | None = None
    try:
        found = await operations.of(service).configuration()
    except (IdentitySilent, IdentityRefuses) as error:
        problem = problem_of(error)
    errors = kept_of(request).errors
    return page(
        request,
        "configuration.html",
        status_code=422 if errors else 200,
        service=service,
        other="registration" if service == "identity" else "identity",
        found=found,
        errors=errors,
        problem=sentence_of(request, problem) if problem else "",
    )


@router.post("/instellingen", dependencies=_INSTALLATION)
async def reload(
    *,
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    service: ServiceDep,
    reason: TypedReason = "",
) -> Response:
    """Make all processes take their files. The operator's name and the reason are stored."""
    if wrong := fault_of_reason(reason, NO_REASON):
        return await again(request, _address(service), ReasonForm(reason=reason), errors={"reason": wrong})
    _say(request, await operations.of(service).reload(require_text(reason), staff.subject))
    return see_other(_address(service))


def _say(request: Request, done: ReloadedJson) -> None:
    taken = sum(outcome.state == "taken" for outcome in done.outcomes)
    if done.digest is None:
        notify(
            request,
            "De bestanden kloppen niet. Er is niets veranderd.",
            "The files are not valid. Nothing was changed.",
        )
    elif done.complete:
        notify(
            request,
            f"Alle processen gebruiken de bestanden ({taken}).",
            f"All processes use the files ({taken}).",
        )
    else:
        notify(
            request,
            f"{taken} van {len(done.outcomes)} processen gebruiken de bestanden. Zie de tabel.",
            f"{taken} of {len(done.outcomes)} processes use the files. See the table.",
        )
