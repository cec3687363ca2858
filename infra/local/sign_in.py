"""The sign-in service of the local stack, in a process of its own on 127.0.0.1.

    python -m infra.local.sign_in --port 6003 --counter http://127.0.0.1:8001 --run-dir .run

It asks for no password, so it runs beside a running local stack only.
"""

import argparse
import sys
from pathlib import Path

import uvicorn

from infra.local.credentials import CLIENT_ID, issuer_key
from infra.local.issuer import Client, Issuer, Person
from infra.local.ports import LOOPBACK
from infra.local.running_stack import NoLocalStack, stack_must_run

DRENTHE, DELFT = ("1001", "Biblionet Drenthe"), ("2002", "DOK Delft")
PEOPLE = (
    Person("m.visser", "Marijke Visser", *DRENTHE, "counter"),
    Person("j.smit", "Jeroen Smit", *DRENTHE, "counter"),
    Person("f.deboer", "Femke de Boer", *DRENTHE, "counter operator"),
    Person("k.bakker", "Karim Bakker", *DELFT, "counter"),
)


def main() -> int:
    """Run until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.sign_in", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    parser.add_argument("--counter", required=True, help="address of the counter's pages")
    parser.add_argument("--run-dir", type=Path, required=True, help="the folder of the running stack")
    arguments = parser.parse_args()
    try:
        stack_must_run(arguments.run_dir)
    except NoLocalStack as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    client = Client(CLIENT_ID, f"{arguments.counter}/aanmelden/terug")
    url = f"http://{LOOPBACK}:{arguments.port}"
    issuer = Issuer(url, issuer_key(arguments.run_dir), client, PEOPLE)
    uvicorn.run(issuer.app(), host=LOOPBACK, port=arguments.port, access_log=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
