"""What the broker user of each service may do (ADR 0020): write its own exchanges, read its own queues."""

from dataclasses import dataclass

OTHER = {"registration": "identity", "identity": "registration"}
"""Each service, and the service whose events it receives."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Three regular expressions over names of exchanges and queues, as RabbitMQ takes them."""

    configure: str
    write: str
    read: str


def permissions(service: str) -> Permissions:
    """Return the permissions of one service's user. It may bind its queues to the other service's events."""
    own = f"{service}[.](events|guests|guests[.][0-9]+|rejected)"
    return Permissions(f"^({own})$", f"^({own})$", f"^({own}|{OTHER[service]}[.]events)$")
