"""By which way the services of the local stack hear of each other."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from infra.local.rabbitmq import HOW_TO_INSTALL, server_script


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
