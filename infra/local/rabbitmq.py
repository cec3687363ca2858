"""A private RabbitMQ node, or the feed when no broker is installed."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Literal

from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.processes import Program, stop_all

# The real script: what lies in /usr/sbin on Debian is a wrapper that becomes another user.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
NODE = "landelijk@localhost"
USER = "landelijk"
HOW_TO_INSTALL = (
    "no rabbitmq-server is installed: `apt-get install rabbitmq-server` (as root, Debian or Ubuntu) or see"
    " https://www.rabbitmq.com/docs/download; or give AMQP_URL, or run with TRANSPORT=feed"
)
CONFIGURATION = Template(
    """
listeners.tcp.1 = $host:$port
default_user = $user
default_pass = $password
log.console = true
log.file = false
"""
)


class RabbitMQError(RuntimeError):
    """The private RabbitMQ node could not be started."""


def server_script() -> Path | None:
    """The installed server, or None. `landelijk` beside Debian's folder: whatever the PATH finds."""
    if SERVER.exists():
        return SERVER
    found = shutil.which("rabbitmq-server")
    return None if found is None or found.startswith("/usr/sbin/") else Path(found)


@dataclass
class RabbitMQ:
    """One node: its files in `folder`, its ports free ones of 127.0.0.1, its own Erlang port mapper (epmd).

    Two programs: `epmd`, which must answer first (else the node would start one for itself that stays), and
    `node`. The kernel ends both when we die.
    """

    folder: Path
    port: int = 0
    epmd: Program = field(init=False)
    node: Program = field(init=False)

    def __post_init__(self) -> None:
        script = server_script()
        if script is None:
            raise RabbitMQError(HOW_TO_INSTALL)
        self.folder = self.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.port = self.port or free_port()
        self.epmd_port = free_port()
        environment = self._environment(distribution_port=free_port())
        self.epmd = Program(
            name="epmd",
            command=["epmd", "-port", str(self.epmd_port), "-address", LOOPBACK],
            log=self.folder / "epmd.log",
            environment=environment,
        )
        self.node = Program(
            name="rabbitmq", command=[str(script)], log=self.folder / "rabbitmq.log", environment=environment
        )

    def start(self, timeout: float = 60.0) -> None:
        """Start the node; return when it takes connections."""
        self.spawn()
        self.wait_until_ready(timeout)

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Return when the node takes connections; when it does not, stop it and raise RabbitMQError."""
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.node.running or time.monotonic() > deadline:
                self.stop()
                raise RabbitMQError(
                    f"RabbitMQ did not start; {self.node.log} ends:\n{self.node.last_words()}"
                )
            time.sleep(0.05)

    def spawn(self) -> None:
        """Start both programs, without waiting for the node."""
        self.prepare()
        self.epmd.spawn()
        while self.epmd.running and not answers(self.epmd_port):
            time.sleep(0.005)
        self.node.spawn()

    def prepare(self) -> None:
        """Write the node's configuration and, the first time, its secrets."""
        _secret(self.folder / ".erlang.cookie", mode=0o400)
        (self.folder / "enabled_plugins").write_text("[rabbitmq_consistent_hash_exchange].\n")
        configuration = self.folder / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            CONFIGURATION.substitute(host=LOOPBACK, port=self.port, user=USER, password=self.password)
        )

    def stop(self) -> None:
        """Stop the node in good order; when this returns neither it nor any helper of Erlang's is left."""
        stop_all([self.node], grace=8)
        stop_all([self.epmd], grace=2)

    def is_ready(self) -> bool:
        """Whether it takes connections (its listener is the last thing that it starts)."""
        return self.node.running and answers(self.port)

    def url(self, vhost: str = "") -> str:
        return f"amqp://{USER}:{self.password}@{LOOPBACK}:{self.port}/{vhost}"

    @property
    def password(self) -> str:
        return _secret(self.folder / "password", mode=0o600)

    def create_vhost(self, name: str) -> str:
        """A virtual host of its own, open to our user; its address."""
        vhost, user, all_of_it = f'<<"{name}">>', f'<<"{USER}">>', '<<".*">>'
        everything = ", ".join([all_of_it] * 3)
        self.evaluate(
            f"ok = rabbit_vhost:add({vhost}, {user}),"
            f" ok = rabbit_auth_backend_internal:set_permissions({user}, {vhost}, {everything}, {user})"
        )
        return self.url(name)

    def delete_vhost(self, name: str) -> None:
        self.evaluate(f'ok = rabbit_vhost:delete(<<"{name}">>, <<"{USER}">>)')

    def evaluate(self, erlang: str) -> str:
        """Run an expression inside the node (`erl_call` takes 10 ms where `rabbitmqctl` takes a second)."""
        done = subprocess.run(
            ["erl_call", "-sname", NODE, "-e"],
            input=f"{erlang}.\n",
            env=self.node.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not done.stdout.startswith("{ok,"):
            raise RabbitMQError(f"{erlang}: {done.stdout}{done.stderr}")
        return done.stdout

    def _environment(self, distribution_port: int) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        erlang = f"-kernel inet_dist_use_interface {{{LOOPBACK.replace('.', ',')}}} +S 2:2"
        return inherited | {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the server, instead of waiting for it
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",  # nodes side by side must not sit on the same cores
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
        }


def _secret(path: Path, mode: int) -> str:
    """The secret in a file that only we can read; made when there is none."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(20))
        path.chmod(mode)
    return path.read_text()


class TransportImpossible(Exception):
    """The transport that was asked for cannot be had here; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Transport:
    """`url`: of a broker that was given; none with amqp: a private node is started."""

    name: Literal["amqp", "feed"]
    url: str | None
    why: str


def choose_transport(environment: Mapping[str, str]) -> Transport:
    """`TRANSPORT=auto|amqp|feed`; auto: `AMQP_URL` if given, else a private node, else the feed."""
    wanted, url = environment.get("TRANSPORT") or "auto", environment.get("AMQP_URL") or None
    if wanted not in ("auto", "amqp", "feed"):
        raise TransportImpossible(f"TRANSPORT={wanted} is not one of auto, amqp, feed")
    if wanted == "feed":
        return Transport("feed", None, "asked for by TRANSPORT=feed")
    if url:
        return Transport("amqp", url, "the broker of AMQP_URL")
    if server_script() is not None and shutil.which("epmd") is not None:
        return Transport("amqp", None, "a private node of the installed rabbitmq-server")
    if wanted == "amqp":
        raise TransportImpossible(HOW_TO_INSTALL)
    return Transport("feed", None, "no rabbitmq-server is installed: each worker pulls the other's HTTP feed")
