"""Every connection of the services' processes leads through a proxy, which can cut, slow or silence it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from dotenv import dotenv_values

from tests.support.eventually import eventually
from tests.support.silence import SilencingProxy, silencing_all
from tests.support.stack import RunningStack

OURS = ("registration_api", "registration_worker", "identity_api", "identity_worker")
HOME_LIBRARY, BROKER = "home library", "RabbitMQ"
SIDES: dict[str, dict[str, str]] = {
    "PostgreSQL of registration": {"registration": "DATABASE_URL"},
    "PostgreSQL of identity": {"identity": "DATABASE_URL"},
    BROKER: {"registration": "AMQP_URL", "identity": "AMQP_URL"},
    "identity": {"registration": "IDENTITY_URL"},
    "registration": {"identity": "REGISTRATION_URL"},
    "account directory": {"identity": "ACCOUNT_DIRECTORY_URL"},
    "issuer": {"registration": "OIDC_JWKS", "identity": "OIDC_JWKS"},
    HOME_LIBRARY: {},
}
"""Each side, and the settings of its address."""
FROM_A_FILE = "OIDC_JWKS"
"""In the local stack the keys of the issuer are in a file; here they come from its address."""
LONGEST_STOP_SECONDS = 20.0


@asynccontextmanager
async def proxied(stack: RunningStack) -> AsyncIterator[dict[str, list[SilencingProxy]]]:
    """All sides behind proxies: the processes start again, with the new addresses."""
    settings = Files(stack)
    async with silencing_all(settings.addresses()) as opened:
        settings.write({name: url for name, (_, url) in opened.items()})
        for name in OURS:
            await ends(stack, name)
        yield {
            side: [proxy for name, (proxy, _) in opened.items() if name.startswith(f"{side}/")]
            for side in SIDES
        }


class Files:
    """The files of settings of a stack, with the addresses of all sides."""

    def __init__(self, stack: RunningStack) -> None:
        self._files = {service: stack.run_dir / f"{service}.env" for service in ("registration", "identity")}
        self._before = {service: dict(dotenv_values(file)) for service, file in self._files.items()}
        self._libraries = Path(str(self._before["registration"]["REGISTRATION_HOME_LIBRARIES"]))

    def addresses(self) -> dict[str, str]:
        """By side and service."""
        library = re.search(r"port = (\d+)", self._libraries.read_text("utf-8"))
        assert library
        return {f"{HOME_LIBRARY}/": f"sip2://127.0.0.1:{library[1]}"} | {
            f"{side}/{service}": self._address(service, name)
            for side, settings in SIDES.items()
            for service, name in settings.items()
            if name == FROM_A_FILE or f"{service.upper()}_{name}" in self._before[service]
        }

    def _address(self, service: str, name: str) -> str:
        if name == FROM_A_FILE:
            return f"{self._before[service][f'{service.upper()}_OIDC_ISSUER']}/jwks"
        return str(self._before[service][f"{service.upper()}_{name}"])

    def write(self, addresses: Mapping[str, str]) -> None:
        """Put other addresses into the files."""
        before = self.addresses()[f"{HOME_LIBRARY}/"].rpartition(":")[2]
        after = addresses[f"{HOME_LIBRARY}/"].rpartition(":")[2]
        known = self._libraries.read_text("utf-8")
        self._libraries.write_text(known.replace(f"port = {before}", f"port = {after}"), "utf-8")
        for service, file in self._files.items():
            changed = {
                f"{service.upper()}_{settings[service]}": addresses[f"{side}/{service}"]
                for side, settings in SIDES.items()
                if f"{side}/{service}" in addresses
            }
            values = self._before[service] | changed
            file.write_text("".join(f"{name}='{value}'\n" for name, value in values.items()), "utf-8")


async def ends(stack: RunningStack, name: str) -> float:
    """Send SIGTERM to a process; how many seconds it takes to end."""
    process, began = psutil.Process(stack.pid(name)), time.monotonic()
    process.send_signal(signal.SIGTERM)
    await eventually(lambda: not process.is_running(), within=LONGEST_STOP_SECONDS)
    return time.monotonic() - began


def setting(stack: RunningStack, service: str, name: str) -> str:
    """A setting of a service, as its file has it."""
    return str(dotenv_values(stack.run_dir / f"{service}.env")[f"{service.upper()}_{name}"])
