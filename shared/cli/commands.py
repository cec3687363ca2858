"""Commands that both services have."""

from collections.abc import Sequence

import typer

from shared.cli.output import show_json
from shared.cli.running import in_loop
from shared.settings import ServiceSettings


def migrate(settings: ServiceSettings, schema: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    """Bring the schema up to date, and say which scripts ran."""
    from shared import postgres  # noqa: PLC0415

    ran = in_loop(postgres.migrate(settings.database_url.get_secret_value(), schema))
    if as_json:
        show_json({"ran": ran})
    else:
        typer.echo("\n".join(ran) or "The schema is up to date.")
