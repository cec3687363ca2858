"""Three nodes of RabbitMQ that are one cluster, on loopback, as docs/reliability.md sets it up."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from infra.local.processes import stop_all
from infra.local.rabbitmq import RabbitMQ

SIZE = 3
SHARED = (".erlang.cookie", "password")
"""The nodes know each other by the cookie; the broker's user is the same at all of them."""


class Cluster:
    """The nodes, their addresses, and which of them leads the queues."""

    def __init__(self, folder: Path) -> None:
        names = [f"rabbit{number}@localhost" for number in range(1, SIZE + 1)]
        more = "\n".join(
            [
                "cluster_partition_handling = pause_minority",
                "queue_leader_locator = balanced",
                "cluster_formation.peer_discovery_backend = classic_config",
                *(f"cluster_formation.classic_config.nodes.{n} = {name}" for n, name in enumerate(names, 1)),
                "",
            ]
        )
        first = RabbitMQ(folder / names[0], name=names[0], more=more)
        others = [
            RabbitMQ(folder / name, name=name, more=more, epmd_port=first.epmd_port) for name in names[1:]
        ]
        self.nodes = [first, *others]

    def start(self) -> None:
        """Start all nodes; return when they are one cluster."""
        first, *others = self.nodes
        first.start()
        for node in others:
            for name in SHARED:
                shutil.copy(first.folder / name, node.folder)
            node.spawn()
        for node in others:
            node.wait_until_ready()
        assert len(self.running()) == SIZE, "the nodes found no cluster"

    def stop(self) -> None:
        stop_all([node.node for node in self.nodes], grace=8)
        stop_all([node.epmd for node in self.nodes], grace=2)

    @property
    def urls(self) -> str:
        """The addresses of all nodes, as AMQP_URL has them."""
        return ",".join(node.url() for node in self.nodes)

    def running(self) -> list[str]:
        """The names of the nodes that are in the cluster now."""
        said = self._one().evaluate("rabbit_nodes:all_running()")
        return re.findall(r"rabbit\d@localhost", said)

    def leaders(self, queues: Iterable[str]) -> dict[str, str]:
        """The name of the node that leads each of these queues."""
        found = {}
        for queue in queues:
            said = self._one().evaluate(f"ra_leaderboard:lookup_leader('%2F_{queue}')")
            if name := re.search(r"rabbit\d@localhost", said):
                found[queue] = name[0]
        return found

    def members(self, queue: str) -> set[str]:
        """The names of the nodes that hold a queue."""
        said = self._one().evaluate(
            f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)),'
            " maps:get(nodes, amqqueue:get_type_state(Q))"
        )
        return set(re.findall(r"rabbit\d@localhost", said))

    def leader_of_most(self, queues: Iterable[str]) -> RabbitMQ:
        [(name, _)] = Counter(self.leaders(queues).values()).most_common(1)
        return self.named(name)

    def named(self, name: str) -> RabbitMQ:
        return next(node for node in self.nodes if node.name == name)

    def kill(self, node: RabbitMQ) -> None:
        """SIGKILL: it says good-bye to nobody."""
        os.kill(node.node.pid, signal.SIGKILL)
        assert node.node.process is not None
        node.node.process.wait()

    def _one(self) -> RabbitMQ:
        return next(node for node in self.nodes if node.is_ready())
