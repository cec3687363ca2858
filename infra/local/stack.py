"""The whole product on this machine, in one folder: servers, services, workers, a home library."""

import fcntl
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from infra.local import services
from infra.local.configuration import Addresses, write_settings
from infra.local.credentials import Credentials, write_privately
from infra.local.ports import free_port, is_free, kept_port
from infra.local.postgres import DatabaseUrls, Postgres, databases_of, let_through, own_databases
from infra.local.processes import Child, StartFailed, Supervisor, stop_all
from infra.local.rabbitmq import RabbitMQ, Transport, choose_transport
from infra.rabbitmq.permissions import OTHER

LARGEST_PORT = 65_535


class Stack:
    """Starts all processes side by side, restarts them while `tick` is called, and stops them.

    `environment`: RUN_DIR, TRANSPORT, AMQP_URL, DATABASE_URL, REGISTRATION_PORT, IDENTITY_PORT.
    """

    def __init__(self, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.run_dir = Path(environment.get("RUN_DIR") or ".run").resolve()
        self.transport = Transport("feed", None, "not chosen yet")
        self._environment = environment
        self._say = say
        self._supervisor = Supervisor(say, restarted=self._describe)
        self._postgres: Postgres | None = None
        self._rabbitmq: RabbitMQ | None = None
        self._lock: IO[str] | None = None
        self._description: dict[str, Any] = {}

    @property
    def description(self) -> dict[str, Any]:
        """The content of `stack.json`."""
        return self._description | {"pids": self._pids()}

    def start(self) -> None:
        """Start everything; return when all processes are ready and `stack.json` is written.

        Raises StartFailed, TransportImpossible, PostgresError or RabbitMQError.
        """
        self.transport = choose_transport(self._environment)
        self._take_folder()
        standard_ports = {"registration": 8001, "identity": 8002}
        ports = {service: self._port_of(service, port) for service, port in standard_ports.items()}
        self._spawn_servers()
        databases = self._databases()
        addresses = Addresses(
            registration_port=ports["registration"],
            identity_port=ports["identity"],
            worker_ports={service: free_port() for service in OTHER},
            databases=databases,
            amqp=self._amqp_urls(),
            home_library_port=free_port(),
            account_directory_port=free_port(),
            sign_in_port=kept_port(self.run_dir / "sign_in.port"),
            wisecat_port=kept_port(self.run_dir / "wisecat.port"),
        )
        credentials = Credentials(self.run_dir, addresses.sign_in)
        write_settings(self.run_dir, credentials, addresses)
        self._start_services(addresses)
        self._description = {
            "registration_url": addresses.counter,
            "sign_in_url": addresses.sign_in,
            "identity_url": addresses.identity,
            "worker_urls": {service: addresses.worker(service) for service in OTHER},
            "wisecat_url": addresses.wisecat,
            "transport": self.transport.name,
            "tokens": credentials.tokens(),
            "database_urls": {service: urls.service for service, urls in databases.items()},
            "owner_database_urls": {service: urls.owner for service, urls in databases.items()},
            "reader_database_urls": {service: urls.reader for service, urls in databases.items()},
            "amqp_url": self._rabbitmq.url() if self._rabbitmq else self.transport.url,
        }
        self._describe()

    def tick(self) -> None:
        """Restart processes that died."""
        self._supervisor.tick()

    def stop(self) -> None:
        """Stop everything within 10 s: the services first, then their servers. No process is left."""
        if self._lock is None:
            return  # another stack uses this folder: its processes must go on
        (self.run_dir / "stack.json").unlink(missing_ok=True)
        programs = [child.program for child in self._supervisor.children]
        stop_all([program for program in programs if program.name in services.NAMES], grace=3.5)
        servers = [self._postgres.program] if self._postgres else []
        stop_all([*servers, *([self._rabbitmq.node] if self._rabbitmq else [])], grace=3.5)
        if self._rabbitmq:
            stop_all([self._rabbitmq.epmd], grace=1)
        self._lock.close()

    def _take_folder(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self.run_dir / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StartFailed(
                f"a local stack is running in {self.run_dir}: stop it, or set another RUN_DIR for this one"
            ) from None
        self._lock = lock
        (self.run_dir / "stack.json").unlink(missing_ok=True)

    def _port_of(self, service: str, standard: int) -> int:
        name = f"{service.upper()}_PORT"
        given = self._environment.get(name) or str(standard)
        if not (given.isascii() and given.isdigit() and int(given) <= LARGEST_PORT):
            raise StartFailed(
                f"{name}={given} is not a port: set a number up to {LARGEST_PORT}, or 0 for any free port"
            )
        port = int(given)
        if port and not is_free(port):
            raise StartFailed(f"port {port} is in use: set {name} to another port, or to 0 for any free port")
        return port or free_port()

    def _spawn_servers(self) -> None:
        """Start RabbitMQ first: it takes longest and starts while the rest is prepared."""
        if self.transport.name == "amqp" and self.transport.url is None:
            self._rabbitmq = RabbitMQ(self.run_dir / "rabbitmq")
            self._rabbitmq.spawn()
        if not self._environment.get("DATABASE_URL"):
            let_through(self.run_dir)
            self._postgres = Postgres(self.run_dir / "postgres")
            self._postgres.start()
            self._supervisor.adopt(Child(self._postgres.program, self._postgres.is_ready))

    def _databases(self) -> dict[str, DatabaseUrls]:
        if self._postgres:
            return own_databases(self._postgres)
        return databases_of(self._environment["DATABASE_URL"], self.run_dir)

    def _amqp_urls(self) -> dict[str, str] | None:
        """Return the broker's URL for each service: with a user of its own on a private node."""
        if self._rabbitmq:
            return {service: self._rabbitmq.service_url(service) for service in OTHER}
        return dict.fromkeys(OTHER, self.transport.url) if self.transport.url else None

    def _start_services(self, at: Addresses) -> None:
        home_library = services.home_library(self.run_dir, at)
        sign_in = services.sign_in(self.run_dir, at)
        self._supervisor.start(home_library, sign_in)
        services.migrate(self.run_dir)
        apis = services.apis(self.run_dir, at)
        self._supervisor.start(*apis)
        self._wait_for_rabbitmq()
        workers = services.workers(self.run_dir, at)
        wisecat = services.wisecat(self.run_dir, at)
        self._supervisor.start(*workers, wisecat)
        self._supervisor.wait_until_ready([home_library, sign_in, *apis, *workers, wisecat], timeout=60)

    def _wait_for_rabbitmq(self) -> None:
        if self._rabbitmq is None:
            return
        self._rabbitmq.wait_until_ready()
        for service in OTHER:
            self._rabbitmq.create_service_user(service)
        self._supervisor.adopt(Child(self._rabbitmq.epmd, lambda: True))
        self._supervisor.adopt(Child(self._rabbitmq.node, self._rabbitmq.is_ready))

    def _describe(self) -> None:
        if self._description:
            write_privately(self.run_dir / "stack.json", json.dumps(self.description, indent=2) + "\n")

    def _pids(self) -> dict[str, int]:
        programs = [child.program for child in self._supervisor.children]
        return {program.name: program.pid for program in programs if program.name in services.NAMES}
