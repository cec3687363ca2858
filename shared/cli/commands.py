"""Commands that both services have."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import typer

from shared.cli.output import show_json
from shared.cli.running import Failed, in_loop
from shared.settings import ServiceSettings

K = TypeVar("K", bound=ServiceSettings)
S = TypeVar("S")


def migrate(settings: ServiceSettings, schema: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    """Bring the schema up to date, and say which scripts ran."""
    from shared import postgres  # noqa: PLC0415

    ran = in_loop(postgres.migrate(settings.database_url.get_secret_value(), schema))
    if as_json:
        show_json({"ran": ran})
    else:
        typer.echo("\n".join(ran) or "The schema is up to date.")


def apply_erasures(
    settings: K,
    open_service: Callable[[K], AbstractAsyncContextManager[S]],
    erase_again: Callable[[S], Awaitable[int]],
    *,
    as_json: bool,
) -> None:
    """Destroy again what the ledger of erasures knows as destroyed, and say of how many."""
    if settings.erasure_ledger is None:
        raise Failed(
            f"{settings.prefix()}ERASURE_LEDGER is not set: there is no ledger of erasures to apply."
        )

    async def applied() -> int:
        async with open_service(settings) as service:
            return await erase_again(service)

    count = in_loop(applied())
    show_json({"erased": count}) if as_json else typer.echo(f"{count} erased again.")
