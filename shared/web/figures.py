"""The text of `/metrics`: the figures of this process, or of all processes that share its address."""

import os
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Set by `serve --processes`: the processes keep what they count in files there, so that all can be added."""

OF_ONE_PROCESS = ("process_", "python_")
"""The names begin so of what the client library measures of this process. It cannot be added: left out."""

ADDED_GAUGES = frozenset({"http_connections"})
"""Gauges of what a process has at this moment; of a dead process they are not counted (mode `livesum`)."""


def exposition(registries: Sequence[CollectorRegistry]) -> bytes:
    """Return what the registries hold, in the text format of Prometheus.

    Of several processes: what they count, and gauges of a living process, are added. All other gauges come
    from the database, and this process has just read them.
    """
    if FOLDER in os.environ:
        return generate_latest(_OfAllProcesses(registries))
    return b"".join(generate_latest(registry) for registry in registries)


class _OfAllProcesses(Collector):
    """The figures of the registries, added for all processes that share the folder."""

    def __init__(self, registries: Sequence[CollectorRegistry]) -> None:
        self._registries = registries

    def collect(self) -> Iterator[Metric]:
        """Yield each figure once."""
        added = {metric.name: metric for metric in MultiProcessCollector(None).collect()}  # type: ignore[no-untyped-call]
        for registry in self._registries:
            for own in registry.collect():
                if own.name.startswith(OF_ONE_PROCESS):
                    continue
                if own.type == "gauge" and own.name not in ADDED_GAUGES:
                    yield own
                elif of_all := added.get(own.name):
                    yield of_all
