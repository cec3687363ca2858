"""The commands `keys status|rewrap`: which master key wraps the data keys, and how to retire one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.console import echo, progress_bar, show_json, show_table
from shared.cli.running import in_loop
from shared.cli.service_handle import ServiceHandle, database_of, named, require_no_failures

if TYPE_CHECKING:
    from shared.event_log import SubjectFailures

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def keys_commands(of: ServiceHandle) -> typer.Typer:
    """Return the group of commands for one service."""
    app = typer.Typer(
        no_args_is_help=True,
        help="Data keys of personal data, and the master keys that wrap them."
        f"\n\nExample: {of.name} keys status",
    )

    @app.command(epilog=f"Example: {of.name} keys status --json")
    def status(as_json: Json = False) -> None:
        """Count the data keys by the master key that wraps them."""
        ids, counts = in_loop(_status(of))
        if as_json:
            show_json([_shown(master_key, ids, counts) for master_key in _all(ids, counts)])
        else:
            rows = [(key, _place(key, ids), f"{counts.get(key, 0):,}") for key in _all(ids, counts)]
            show_table(("master key", "in the key file", "data keys"), rows)

    @app.command(epilog=f"Example: {of.name} keys rewrap")
    def rewrap(as_json: Json = False) -> None:
        """Wrap all data keys again, with the newest master key. You may stop it and run it again."""
        count, failures = in_loop(_rewrap(of))
        if as_json:
            show_json({"rewrapped": count, "failed": named(failures.by_subject)})
        else:
            echo(
                f"{count:,} data keys rewrapped. `{of.name} keys status` counts those under old master keys."
            )
        require_no_failures(failures.by_subject, of.name)

    return app


async def _status(of: ServiceHandle) -> tuple[Sequence[str], Mapping[str, int]]:
    from shared.event_log import MasterKeys, PostgresDataKeys  # noqa: PLC0415

    settings = of.settings()
    master_keys = MasterKeys.from_file(settings.master_key_file)
    async with database_of(settings) as pool:
        return master_keys.ids, await PostgresDataKeys(pool, master_keys).count_by_master_key()


async def _rewrap(of: ServiceHandle) -> tuple[int, SubjectFailures]:
    from shared.event_log import MasterKeys, PostgresDataKeys, SubjectFailures  # noqa: PLC0415

    settings, failures = of.settings(), SubjectFailures("rewrap")
    async with database_of(settings, as_owner=True) as pool:
        data_keys = PostgresDataKeys(pool, MasterKeys.from_file(settings.master_key_file))
        total = sum((await data_keys.count_by_master_key()).values())
        with progress_bar("rewrapping data keys", total, "keys") as progress:
            return await data_keys.rewrap(failures, progress), failures


def _all(ids: Sequence[str], counts: Mapping[str, int]) -> Sequence[str]:
    return [*ids, *(key for key in counts if key not in ids)]


def _place(master_key: str, ids: Sequence[str]) -> str:
    if master_key not in ids:
        return "missing: these data keys cannot be read"
    return "newest" if master_key == ids[0] else "old"


def _shown(master_key: str, ids: Sequence[str], counts: Mapping[str, int]) -> dict[str, object]:
    place = ids.index(master_key) + 1 if master_key in ids else None
    return {"master_key": master_key, "line": place, "data_keys": counts.get(master_key, 0)}
