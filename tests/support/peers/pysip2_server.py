# mypy: ignore-errors
"""Serve a home library with pysip2 in its own environment: `python pysip2_server.py SETTINGS`.

Frames, checksums, the status reply and all messages are the package's own code; who the patrons are is said
here. SETTINGS is a file with the JSON that sip2.py beside this file writes. The first line of the output is
the version.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import anyio
from pysip2 import (
    LOGIN,
    PATRON_INFORMATION,
    LoginResponse,
    PatronInformationResponse,
    SIP2Server,
)

FLAGS = {"charge": 0, "lost": 4, "fines": 10}


def application(settings):
    app = SIP2Server(institution_id="NL-070288", library_name="Thuis", login_required=True)

    @app.route(LOGIN)
    async def log_in(request, ctx):
        known = (request.login_user_id, request.login_password) == ("gast", "geheim")
        return LoginResponse(ok="1" if known else "0")

    @app.route(PATRON_INFORMATION)
    async def patron_information(request, ctx):
        patron = settings["patrons"].get(request.patron_identifier)
        positions = {FLAGS[name] for name in (patron or {}).get("flags", [])}
        return PatronInformationResponse(
            patron_status="".join("Y" if position in positions else " " for position in range(14)),
            language=request.language,
            transaction_date=ctx.now_18(),
            hold_items_count="0000",
            overdue_items_count="0000",
            charged_items_count="0000",
            fine_items_count="0000",
            recall_items_count="0000",
            unavailable_holds_count="0000",
            institution_id=request.institution_id,
            patron_identifier=request.patron_identifier,
            personal_name=patron["name"] if patron else "",
            valid_patron="Y" if patron and patron["valid"] else "N",
            home_address=patron and patron["address"],
            email_address=patron and patron["email"],
        )

    return app


if __name__ == "__main__":
    print(importlib.metadata.version("pysip2"), flush=True)  # noqa: T201
    settings = json.loads(Path(sys.argv[1]).read_text())
    anyio.run(application(settings).serve, "127.0.0.1", settings["port"])
