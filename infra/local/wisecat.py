"""A demo of Wisecat+, the catalogue where people log in, in a process of its own on 127.0.0.1.

    python -m infra.local.wisecat --port 6004 --identity http://127.0.0.1:8002 --run-dir .run

A client of identity like the real one, with the token that only it has. It asks for no password, so it runs
beside a running local stack only.
"""

import argparse
import sys
import tomllib
from pathlib import Path

import httpx
import uvicorn

from infra.local.ports import LOOPBACK
from infra.local.running_stack import NoLocalStack, stack_must_run
from infra.local.wisecat_app import Wisecat
from infra.local.wisecat_login import IdentityLogins
from shared.service_token import ServiceToken


def main() -> int:
    """Run until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.wisecat", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    parser.add_argument("--identity", required=True, help="address of the identity service")
    parser.add_argument("--run-dir", type=Path, required=True, help="the folder of the running stack")
    arguments = parser.parse_args()
    run_dir: Path = arguments.run_dir
    try:
        stack_must_run(run_dir)
    except NoLocalStack as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    # The stack's own file, which the services check: read plainly, this is up in half the time.
    libraries = tomllib.loads((run_dir / "organisations.toml").read_text("utf-8"))["organisations"]
    names = {code: library["name"] for code, library in libraries.items()}
    token = ServiceToken(run_dir / "keys" / "wisecat.token")
    logins = IdentityLogins(arguments.identity, httpx.AsyncClient(), token)
    app = Wisecat(logins, names).app()
    uvicorn.run(app, host=LOOPBACK, port=arguments.port, access_log=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
