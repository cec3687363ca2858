"""`projections list|status|rebuild|verify`: the operators' replay, the same in both services (A7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.cli.console import progress_bar, show_json, show_table
from shared.cli.running import Failed, in_loop
from shared.cli.service_handle import ServiceHandle

if TYPE_CHECKING:
    from shared.projections import View
    from shared.projections.live import ViewStatus
    from shared.projections.rebuild import Rebuilt, Source
    from shared.projections.verify import Difference, Verified

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Name = Annotated[str, typer.Argument(help="The view's name; `all` for every one.")]


def projection_commands(of: ServiceHandle) -> typer.Typer:
    """The group of commands for one service."""
    service = of.name
    app = typer.Typer(no_args_is_help=True, help="Read models: how far they are, rebuilding, checking.")

    @app.command("list", epilog=f"Example: {service} projections list")
    def list_views(as_json: Json = False) -> None:
        """Name the views, their tables and what they are for."""
        rows = [
            (view.name, ", ".join(table.name for table in view.tables), view.about) for view in of.views()
        ]
        if as_json:
            show_json([dict(zip(("name", "tables", "about"), row, strict=True)) for row in rows])
        else:
            show_table(("view", "tables", "for"), rows)

    @app.command(epilog=f"Example: {service} projections status --json")
    def status(as_json: Json = False) -> None:
        """Show how far each view is, who follows the log for it, and how many guests are held."""
        views, held = in_loop(_status(of))
        if as_json:
            show_json({"views": [asdict(view) for view in views], "held_guests": held})
        else:
            show_table(("view", "position", "lag", "state", "rebuilt"), [_status_row(each) for each in views])
            show_table(("held guests", ""), [_held_row(*each) for each in held.items()])

    @app.command(epilog=f"Example: {service} projections rebuild {of_example(service)}")
    def rebuild(name: Name, as_json: Json = False) -> None:
        """Build a view anew beside the live one, and switch when it is done."""
        _each(of, name, _rebuild, as_json=as_json, show=_show_rebuilt)

    @app.command(epilog=f"Example: {service} projections verify {of_example(service)}")
    def verify(name: Name, as_json: Json = False) -> None:
        """Fold a view anew and compare: exit 1, and the rows named, when it is not as the log says."""
        done = _each(of, name, _verify, as_json=as_json, show=_show_verified)
        if drifted := [each.view for each in done if each.differences]:
            raise Failed(
                f"Not as the log says: {', '.join(drifted)}. `{service} projections rebuild` heals it."
            )

    return app


def of_example(service: str) -> str:
    """A view to name in an example."""
    return "guest_directory" if service == "registration" else "links"


def _named(of: ServiceHandle, name: str) -> Sequence[View]:
    views = of.views()
    found = views if name == "all" else [view for view in views if view.name == name]
    if not found:
        known = ", ".join(view.name for view in views)
        raise Failed(f"There is no view {name}: name one of {known}, or all.")
    return found


def _each(of: ServiceHandle, name: str, do: Any, *, as_json: bool, show: Callable[[Any], None]) -> list[Any]:
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
        raise Failed("Stopped: the view that was being built is as it was.") from None
    if as_json:
        show_json([asdict(each) for each in done])
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
        held = await connection.fetch("SELECT state, count(*) AS guests FROM held_guests GROUP BY state")
        found = {str(row["state"]): int(row["guests"]) for row in held}
        every = {state: found.get(state, 0) for state in ("waiting", "parked", "diverged")}
        return await status_of(connection, of.views()), every
    finally:
        await connection.close()


def _status_row(view: ViewStatus) -> tuple[str, ...]:
    if view.failure:
        state = f"[red]{view.failure}[/]"
    elif view.being_built:
        state = "[yellow]being built[/]"
    elif view.followed_by:
        state = "[green]live[/]"
    else:
        state = "[yellow]no worker follows it[/]"
    rebuilt = f"{view.rebuilt_at:%Y-%m-%d %H:%M}" if view.rebuilt_at else "never"
    colour = "green" if view.lag == 0 else "yellow"
    return view.name, f"{view.position:,}", f"[{colour}]{view.lag:,}[/]", state, rebuilt


def _held_row(state: str, guests: int) -> tuple[str, str]:
    return state, f"[red]{guests}[/]" if guests else "[green]0[/]"


def _show_rebuilt(done: Rebuilt) -> None:
    waited = f"readers waited {done.readers_waited * 1000:.0f} ms at most"
    typer.echo(
        f"{done.view}: {done.events:,} events in {done.seconds:.1f} s"
        f" ({done.events / done.seconds:,.0f}/s), up to position {done.position:,}; {waited}"
    )


def _show_verified(done: Verified) -> None:
    if not done.differences:
        typer.echo(f"{done.view}: {done.rows:,} rows are as the log says up to position {done.position:,}")
        return
    rows = [(each.table, _text(each.key), *map(_text, _only_what_differs(each))) for each in done.differences]
    show_table(("table", "row", "in the view", "from the log"), rows, title=f"{done.view} differs")


def _only_what_differs(found: Difference) -> tuple[Any, Any]:
    if found.in_view is None or found.in_log is None:
        return found.in_view, found.in_log
    columns = [name for name, value in found.in_view.items() if found.in_log.get(name) != value]
    return {name: found.in_view[name] for name in columns}, {name: found.in_log[name] for name in columns}


def _text(values: Any) -> str:
    return "[red]missing[/]" if values is None else ", ".join(f"{k}={v}" for k, v in values.items())
