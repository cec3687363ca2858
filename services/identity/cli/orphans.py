"""The commands `orphans list|release`: guests that registration lost when its database was restored."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer

from identity.service_handle import settings_of_command
from shared.cli.console import echo, show_json, show_table
from shared.cli.parked import reason_of
from shared.cli.running import By, Failed, in_loop, name_of
from shared.cli.service_handle import named, require_no_failures

if TYPE_CHECKING:
    from identity.bootstrap import Service
    from identity.domain.guest_link import GuestLink

orphans = typer.Typer(
    no_args_is_help=True,
    help="Guests that registration lost in a restore.\n\nExample: identity orphans list",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
COLUMNS = ("guest_id", "organisation", "status", "account_id", "actor_id")


@orphans.command("list", epilog="Example: identity orphans list --json")
def list_all(as_json: Json = False) -> None:
    """List the guests that identity has and registration does not; registration is asked about all guests.

    They can wait: their logins go on. They are gone from this list when registration has them again.
    """
    found = in_loop(_list())
    if as_json:
        show_json({"orphans": found})
    elif found:
        show_table(COLUMNS, [[str(orphan[column] or "–") for column in COLUMNS] for orphan in found])
        echo(f"\n{len(found)} orphans. Restore a newer backup of registration, or let them go:")
        echo("identity orphans release --all --reason 'lost in a restore'")
    else:
        echo("No orphans: registration has every guest. `identity orphans release --all` ends the warning.")


@orphans.command("release", epilog="Example: identity orphans release --all --reason 'lost in a restore'")
def release(
    guest_id: Annotated[UUID | None, typer.Argument(metavar="GUEST_ID", help="The guest's id.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All orphans; this also ends the warning.")] = False,
    reason: Annotated[str, typer.Option(help="Why they are released; the reason is stored.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let an orphan go, or all: its account is free, and the same person is linked at the next registration.

    This is final: a guest that comes back at registration afterwards has to be linked at the counter.
    """
    if (guest_id is None) != every:
        raise typer.BadParameter("give one GUEST_ID, or --all", param_hint="GUEST_ID")
    done = in_loop(_release(guest_id, reason_of(reason), name_of(by)))
    if as_json:
        show_json({"released": done.released, "failed": named(done.failed)})
    else:
        echo(f"Released: {len(done.released)}.")
        for released in done.released:
            echo(str(released))
    require_no_failures(done.failed, "identity")
    if done.is_open:
        raise Failed(
            "The orphans are released, but the worker has not read registration's feed again yet."
            " Start it, and run this again in a minute to end the warning."
        )


@dataclass(slots=True)
class Released:
    """The guests that were released, and those that could not be: id -> kind of error.

    `is_open`: the warning could not be ended yet.
    """

    released: list[UUID] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)
    is_open: bool = False


@asynccontextmanager
async def _service() -> "AsyncIterator[Service]":
    """Open the service. Raises Failed when registration cannot be asked, or is another one."""
    from identity.application.dependencies import RegistrationUnavailable  # noqa: PLC0415
    from identity.bootstrap import open_service  # noqa: PLC0415
    from identity.domain.errors import OtherRegistrationLog  # noqa: PLC0415

    async with open_service(settings_of_command()) as service:
        try:
            yield service
        except RegistrationUnavailable as error:
            raise Failed(
                f"Registration cannot be asked ({error}). Nothing more was changed. Start it, and try again."
            ) from None
        except OtherRegistrationLog:
            raise Failed(
                "This is another log of registration than the one that identity follows. Nothing was changed."
                " Correct IDENTITY_REGISTRATION_URL, or restore a backup of the same log."
            ) from None


async def _list() -> list[dict[str, Any]]:
    async with _service() as service:
        return [_shown(link) for link in await _found(service)]


async def _found(service: "Service") -> "list[GuestLink]":
    from identity.application.release_orphans import find_orphans  # noqa: PLC0415
    from shared.cli.console import progress_bar  # noqa: PLC0415

    followed = await service.inbox.followed()
    with progress_bar("asking registration", await service.log.position()) as progress:
        return [link async for link in find_orphans(followed, service.deps, progress)]


async def _release(guest_id: UUID | None, reason: str, by: str) -> Released:
    from identity.application.dependencies import Context  # noqa: PLC0415
    from identity.application.release_orphans import ReleaseOrphan, release_orphan  # noqa: PLC0415
    from identity.domain.errors import NotAnOrphan  # noqa: PLC0415
    from shared.event_log import Metadata, RecordUnreadable  # noqa: PLC0415

    done = Released()
    async with _service() as service:
        followed = await service.inbox.followed()
        guest_ids = [guest_id] if guest_id else [link.id for link in await _found(service)]
        for one in guest_ids:
            context = Context(Metadata(by, uuid4()))
            try:
                await release_orphan(ReleaseOrphan(one, reason, followed), context, service.deps)
                done.released.append(one)
            except NotAnOrphan:
                if guest_id is not None:
                    raise Failed(
                        f"Guest {one} is not an orphan: `identity orphans list` shows the orphans."
                    ) from None
            except RecordUnreadable as error:
                done.failed[one] = type(error).__name__
        await service.inbox.parked.make_due()  # who registered again may wait for the account
        if guest_id is None and not done.failed:
            done.is_open = not await _settle(service, by, reason)
    return done


async def _settle(service: "Service", by: str, reason: str) -> bool:
    other_log = service.inbox.other_log
    return await other_log.settle(by, reason) or await other_log.lost_end() is None


def _shown(link: "GuestLink") -> dict[str, Any]:
    answer = link.answer
    return {
        "guest_id": link.id,
        "organisation": link.organisation,
        "status": link.guest_status.status.value,
        "account_id": answer and answer.account_id,
        "actor_id": getattr(answer, "actor_id", None),
    }
