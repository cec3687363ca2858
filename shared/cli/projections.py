"""The commands `projections list|status|rebuild|verify`: replay of the event log (ADR 0009)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from shared.cli.console import Cell, echo, progress_bar, show_json, show_table, shown
from shared.cli.running import Failed, in_loop
from shared.cli.service_handle import ServiceHandle

if TYPE_CHECKING:
    from shared.projections import View
    from shared.projections.live import ViewStatus
    from shared.projections.rebuild import Rebuilt, Source
    from shared.projections.verify import Difference, Verified

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(help="The view's name, or `all`.")]


def projection_commands(of: ServiceHandle) -> typer.Typer:
    """Return the group of commands for one service."""
    service = of.name
    app = typer.Typer(
        no_args_is_help=True,
        help=f"Read models: show how far they are, rebuild, verify.\n\nExample: {service} projections status",
    )

    @app.command("list", epilog=f"Example: {service} projections list")
    def list_views(as_json: Json = False) -> None:
        """List the views, their tables and their purpose."""
        rows = [
            (view.name, ", ".join(table.name for table in view.tables), view.about) for view in of.views()
        ]
        if as_json:
            show_json([dict(zip(("name", "tables", "about"), row, strict=True)) for row in rows])
        else:
            show_table(("view", "tables", "purpose"), rows)

    @app.command("status", epilog=f"Example: {service} projections status --json")
    def show_status(as_json: Json = False) -> None:
        """Show how far each view is, which worker keeps it live, and how many guests are parked."""
        _show_status(*in_loop(_status(of)), as_json=as_json)

    @app.command(epilog=f"Example: {service} projections rebuild {of_example(service)}")
    def rebuild(name: Name, as_json: Json = False) -> None:
        """Build a view again from the log beside the live one, and switch when it is complete."""
        _run(of, name, _rebuild, as_json=as_json, show=_show_rebuilt)

    @app.command(epilog=f"Example: {service} projections verify {of_example(service)}")
    def verify(name: Name, as_json: Json = False) -> None:
        """Compute a view from the log and compare it with the live one; exit code 1 if rows differ."""
        done = _run(of, name, _verify, as_json=as_json, show=_show_verified)
        if drifted := [result.view for result in done if result.differences]:
            raise Failed(
                f"Different from the log: {', '.join(drifted)}."
                f" `{service} projections rebuild NAME` repairs a view."
            )

    return app


def _show_status(views: Sequence[ViewStatus], parked: Mapping[str, int], *, as_json: bool) -> None:
    if as_json:
        show_json({"views": [asdict(view) for view in views], "held_guests": parked})
    else:
        show_table(("view", "position", "lag", "state", "rebuilt"), [_status_row(view) for view in views])
        show_table(("parked guests", ""), [_parked_row(*row) for row in parked.items()])


def of_example(service: str) -> str:
    """Return the name of a view for an example."""
    return "guest_directory" if service == "registration" else "links"


def _named(of: ServiceHandle, name: str) -> Sequence[View]:
    views = of.views()
    found = views if name == "all" else [view for view in views if view.name == name]
    if not found:
        known = ", ".join(view.name for view in views)
        raise Failed(f"There is no view {name}. The views are {known}; `all` means every view.")
    return found


def _run(of: ServiceHandle, name: str, do: Any, *, as_json: bool, show: Callable[[Any], None]) -> list[Any]:
    from shared.projections import FoldFailed, RebuildRunning  # noqa: PLC0415

    done = []
    try:
        for view in _named(of, name):
            done.append(in_loop(do(of.view_source(), view)))
            if not as_json:
                show(done[-1])
    except (FoldFailed, RebuildRunning) as failure:
        raise Failed(f"{failure} Nothing was changed.") from None
    except KeyboardInterrupt:
        raise Failed("Stopped. The live view was not changed.") from None
    if as_json:
        show_json([asdict(result) for result in done])
    return done


async def _rebuild(source: Source, view: View) -> Rebuilt:
    from shared.projections.rebuild import rebuild  # noqa: PLC0415

    with progress_bar(f"rebuilding {view.name}", await source.events_of(view), unit="events") as progress:
        return await rebuild(source, view, progress)


async def _verify(source: Source, view: View) -> Verified:
    from shared.projections.verify import verify  # noqa: PLC0415

    with progress_bar(f"verifying {view.name}", await source.events_of(view), unit="events") as progress:
        return await verify(source, view, progress)


async def _status(of: ServiceHandle) -> tuple[list[ViewStatus], dict[str, int]]:
    import asyncpg  # noqa: PLC0415

    from shared.projections.live import status_of  # noqa: PLC0415

    connection = await asyncpg.connect(of.view_source().url)
    try:
        rows = await connection.fetch("SELECT state, count(*) AS subjects FROM held_guests GROUP BY state")
        found = {str(row["state"]): int(row["subjects"]) for row in rows}
        parked = {state: found.get(state, 0) for state in ("waiting", "parked", "diverged")}
        return await status_of(connection, of.views()), parked
    finally:
        await connection.close()


def _status_row(view: ViewStatus) -> tuple[Cell, ...]:
    if view.failure:
        state = Text(shown(view.failure), "red")
    elif view.being_built:
        state = Text("being built", "yellow")
    elif view.followed_by:
        state = Text("live", "green")
    else:
        state = Text("no worker keeps it live", "yellow")
    rebuilt = f"{view.rebuilt_at:%Y-%m-%d %H:%M}" if view.rebuilt_at else "never"
    colour = "green" if view.lag == 0 else "yellow"
    return view.name, f"{view.position:,}", Text(f"{view.lag:,}", colour), state, rebuilt


def _parked_row(state: str, subjects: int) -> tuple[Cell, ...]:
    return state, Text(str(subjects), "red" if subjects else "green")


def _show_rebuilt(done: Rebuilt) -> None:
    waited = f"readers waited at most {done.readers_waited * 1000:.0f} ms"
    echo(
        f"{done.view} rebuilt: {done.events:,} events in {done.seconds:.1f} s"
        f" ({done.events / done.seconds:,.0f}/s), up to position {done.position:,}; {waited}"
    )


def _show_verified(done: Verified) -> None:
    if not done.differences:
        echo(
            f"{done.view} verified: {done.rows:,} rows are equal to the log up to position {done.position:,}"
        )
        return
    rows = [
        (difference.table, _text(difference.key), *map(_text, _only_what_differs(difference)))
        for difference in done.differences
    ]
    show_table(("table", "row", "in the view", "from the log"), rows, title=f"{done.view} differs")


def _only_what_differs(found: Difference) -> tuple[Any, Any]:
    if found.in_view is None or found.in_log is None:
        return found.in_view, found.in_log
    columns = [name for name, value in found.in_view.items() if found.in_log.get(name) != value]
    return {name: found.in_view[name] for name in columns}, {name: found.in_log[name] for name in columns}


def _text(values: Any) -> Cell:
    return Text("missing", "red") if values is None else ", ".join(f"{k}={v}" for k, v in values.items())
