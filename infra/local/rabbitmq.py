"""A private RabbitMQ node, and the choice of transport: RabbitMQ or the feed."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from string import Template
from typing import Literal

from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.processes import Program, stop_all
from infra.rabbitmq.permissions import permissions

# The real script: on Debian, the one in /usr/sbin is a wrapper that switches to another user.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
GREETING_SECONDS = 5.0
NODE = "landelijk@localhost"
USER = "landelijk"
HOW_TO_INSTALL = (
    "rabbitmq-server is not installed: run `apt-get install rabbitmq-server` (as root, on Debian or Ubuntu)"
    " or see https://www.rabbitmq.com/docs/download; or set AMQP_URL, or set TRANSPORT=feed"
)
CONFIGURATION = Template(
    """
listeners.tcp.1 = $host:$port
default_user = $user
default_pass = $password
max_message_size = 262144
log.console = true
log.file = false
"""
)


class RabbitMQError(RuntimeError):
    """The private RabbitMQ node did not start, or refused an expression."""


def server_script() -> Path | None:
    """Return the installed server: Debian's, else one on the PATH outside /usr/sbin, else None."""
    if SERVER.exists():
        return SERVER
    found = shutil.which("rabbitmq-server")
    return None if found is None or found.startswith("/usr/sbin/") else Path(found)


@dataclass
class RabbitMQ:
    """One node with its files in `folder`, free ports of 127.0.0.1 and its own Erlang port mapper (epmd).

    `epmd` must run before `node`: else the node would start its own epmd, which would outlive the node. The
    kernel ends both programs when this process dies. `more`: lines of its configuration beside ours.
    `epmd_port`: of the port mapper of another node, which this one uses as well.
    """

    folder: Path
    port: int = 0
    name: str = NODE
    more: str = ""
    epmd_port: int = 0
    epmd: Program = field(init=False)
    node: Program = field(init=False)

    def __post_init__(self) -> None:
        script = server_script()
        if script is None:
            raise RabbitMQError(HOW_TO_INSTALL)
        self.folder = self.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.port = self.port or free_port()
        self.epmd_port = self.epmd_port or free_port()
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
        """Start the node. Return when it accepts connections."""
        self.spawn()
        self.wait_until_ready(timeout)

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Return when the node accepts connections. Else stop it and raise RabbitMQError."""
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.node.running or time.monotonic() > deadline:
                self.stop()
                raise RabbitMQError(
                    f"RabbitMQ did not start. The end of {self.node.log}:\n{self.node.last_words()}"
                )
            time.sleep(0.05)

    def spawn(self) -> None:
        """Start both programs, without waiting for the node."""
        self.prepare()
        if not answers(self.epmd_port):
            self.epmd.spawn()
        while self.epmd.running and not answers(self.epmd_port):
            time.sleep(0.005)
        self.node.spawn()

    def prepare(self) -> None:
        """Write the node's configuration and, at the first start, its secrets."""
        _secret(self.folder / ".erlang.cookie", mode=0o400)
        (self.folder / "enabled_plugins").write_text("[rabbitmq_consistent_hash_exchange].\n")
        configuration = self.folder / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            CONFIGURATION.substitute(host=LOOPBACK, port=self.port, user=USER, password=self.password)
            + self.more
        )

    def stop(self) -> None:
        """Shut the node down. When this returns, no process of the node or of Erlang is left."""
        stop_all([self.node], grace=8)
        stop_all([self.epmd], grace=2)

    def is_ready(self) -> bool:
        """Return whether it accepts connections. It opens its port when all else has started."""
        return self.node.running and answers(self.port)

    def url(self, vhost: str = "") -> str:
        return f"amqp://{USER}:{self.password}@{LOOPBACK}:{self.port}/{vhost}"

    @property
    def password(self) -> str:
        return _secret(self.folder / "password", mode=0o600)

    def service_url(self, service: str, vhost: str = "") -> str:
        """Return the URL with the user of one service; see `create_service_user`."""
        password = _secret(self.folder / f"{service}.password", mode=0o600)
        return f"amqp://{service}:{password}@{LOOPBACK}:{self.port}/{vhost}"

    def create_service_user(self, service: str, vhost: str = "/") -> str:
        """Create the user of a service, or set its password and permissions again. Return its URL."""
        password = _secret(self.folder / f"{service}.password", mode=0o600)
        patterns = ", ".join(f'<<"{pattern}">>' for pattern in astuple(permissions(service)))
        user, by, users = f'<<"{service}">>', f'<<"{USER}">>', "rabbit_auth_backend_internal"
        self.evaluate(
            f"case {users}:lookup_user({user}) of"
            f' {{error, not_found}} -> ok = {users}:add_user({user}, <<"{password}">>, {by});'
            f' _ -> ok = {users}:change_password({user}, <<"{password}">>, {by}) end,'
            f' ok = {users}:set_permissions({user}, <<"{vhost}">>, {patterns}, {by})'
        )
        return self.service_url(service, "" if vhost == "/" else vhost)

    def create_vhost(self, name: str) -> str:
        """Create a virtual host that this node's user may use. Return its URL."""
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
        """Run an Erlang expression inside the node and return the output. Raises RabbitMQError.

        `erl_call` takes 10 ms, `rabbitmqctl` takes a second. On a busy machine the node may not answer its
        greeting in time; then nothing was run, and it is called again.
        """
        until = time.monotonic() + GREETING_SECONDS
        while True:
            done = subprocess.run(
                ["erl_call", "-sname", self.name, "-e"],
                input=f"{erlang}.\n",
                env=self.node.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if "failed to connect" not in done.stderr + done.stdout or time.monotonic() > until:
                break
            time.sleep(0.1)
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
            "RUNNING_UNDER_SYSTEMD": "true",  # the script replaces itself by the server
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",  # unbound: two nodes must not use the same cores
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
        }


def _secret(path: Path, mode: int) -> str:
    """Return the secret in a file that only this user can read. Create it if it does not exist."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(20))
        path.chmod(mode)
    return path.read_text()


class TransportImpossible(Exception):
    """The requested transport is not available here. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Transport:
    """The transport, and why it was chosen. `url`: of a given broker; amqp without it is a private node."""

    name: Literal["amqp", "feed"]
    url: str | None
    why: str


def choose_transport(environment: Mapping[str, str]) -> Transport:
    """Choose the transport by TRANSPORT (auto, amqp or feed). Raises TransportImpossible.

    `auto` means the broker at AMQP_URL if that is given, else a private node, else the feed.
    """
    wanted, url = environment.get("TRANSPORT") or "auto", environment.get("AMQP_URL") or None
    if wanted not in ("auto", "amqp", "feed"):
        raise TransportImpossible(f"TRANSPORT={wanted} is not one of auto, amqp, feed")
    if wanted == "feed":
        return Transport("feed", None, "set by TRANSPORT=feed")
    if url:
        return Transport("amqp", url, "the broker at AMQP_URL")
    if server_script() is not None and shutil.which("epmd") is not None:
        return Transport("amqp", None, "a private node of the installed rabbitmq-server")
    if wanted == "amqp":
        raise TransportImpossible(HOW_TO_INSTALL)
    return Transport(
        "feed", None, "rabbitmq-server is not installed: each worker reads the other service's HTTP feed"
    )
