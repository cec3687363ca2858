# mypy: ignore-errors
"""Serve a home library with invenio-sip2 in its own environment: `python invenio_sip2_server.py SETTINGS`.

Its socket server, messages, checksums and actions are the package's own code. Its handlers, which ask a
library system, say here who the patrons are, and its records are in memory in the place of Redis. SETTINGS is
a file with the JSON that sip2.py beside this file writes. The first line of the output is the version.
"""

import importlib.metadata
import json
import os
import sys
from pathlib import Path

from flask import Flask
from invenio_sip2 import InvenioSIP2
from invenio_sip2.datastore import Datastore
from invenio_sip2.models import PatronStatus, PatronStatusTypes, SelfcheckPatronInformation
from invenio_sip2.server import SocketServer

FLAGS = {
    "charge": PatronStatusTypes.CHARGE_PRIVILEGES_DENIED,
    "lost": PatronStatusTypes.CARD_REPORTED_LOST,
    "fines": PatronStatusTypes.EXCESSIVE_OUTSTANDING_FINES,
}
SETTINGS = json.loads(Path(sys.argv[1]).read_text())


class InMemory(Datastore):
    """The records of the server and of its clients."""

    def __init__(self, app=None, **kwargs):
        self.records = {}

    def get(self, id_, record_type=None):
        prefix = f"{record_type}:{id_}" if record_type else id_
        return next((record for key, record in self.records.items() if key.startswith(prefix)), None)

    def add(self, record, id_=None, **kwargs):
        self.records[record.get_key()] = record.dumps()

    update = add

    def delete(self, record, record_type=None):
        self.records.pop(record.get_key(), None)

    def flush(self):
        self.records.clear()

    def all(self, record_type=None):
        return [record for key, record in self.records.items() if key.startswith(f"{record_type}:")]

    def search(self, search_term="*", index_type="*", filter_query=None):
        return [
            record
            for key, record in self.records.items()
            if key.startswith(f"{index_type}:") and key.endswith(filter_query or "")
        ]


def log_in(login, password, **more):
    if (login, password) != ("gast", "geheim"):
        return {}
    return {
        "authenticated": True,
        "terminal": "gast",
        "transaction_user_id": "1",
        "institution_id": "NL-070288",
        "library_name": "Thuis",
        "library_language": "nl",
    }


def system_status(login, **more):
    return {"institution_id": "NL-070288"}


def account(patron_id, **more):
    patron = SETTINGS["patrons"].get(patron_id, {})
    status = PatronStatus()
    for name in patron.get("flags", []):
        status.add_patron_status_type(FLAGS[name])
    found = SelfcheckPatronInformation(
        patron_id,
        "NL-070288",
        patron.get("name", ""),
        status,
        home_address=patron.get("address"),
        email=patron.get("email"),
    )
    found["valid_patron"] = bool(patron.get("valid"))  # as an argument False would be left out
    return found


def application():
    app = Flask("home-library")
    app.config.update(
        SIP2_DATASTORE_HANDLER=InMemory,
        SIP2_LOGGING_CONSOLE=False,
        SIP2_REMOTE_ACTION_HANDLERS={
            "library": {
                "login_handler": log_in,
                "system_status_handler": system_status,
                "patron_handlers": {"account": account},
            }
        },
    )
    InvenioSIP2(app)
    return app


if __name__ == "__main__":
    print(importlib.metadata.version("invenio-sip2"), flush=True)  # noqa: T201
    with application().app_context():
        port = SETTINGS["port"]
        SocketServer(
            name="library", host="127.0.0.1", port=port, remote="library", process_id=os.getpid()
        ).run()
