"""Time limits: how long we wait for another side. The one place for them (docs/architecture.md).

Together they keep three promises, whatever side is silent: an HTTP request is answered within ten seconds, a
worker goes on within fifteen seconds after the side is back, and SIGTERM ends a process within ten seconds.
Only what an operator sets for a home library is elsewhere: `connect_seconds` and `answer_seconds`.

All are in seconds. They are read when they are used (`limits.STATEMENT`), so that a test can make them short.
"""

from __future__ import annotations

import socket

# PostgreSQL
CONNECT = 3.0
"""To open a connection: TCP, TLS, password."""
STATEMENT = 4.0
"""One statement. Then the connection is closed: a silent server would not confirm a cancellation either."""
ACQUIRE = 4.0
"""To get a connection from the pool, a new one perhaps."""
DATABASE = 8.0
"""One read or write over the pool, with its second attempt; an append with all of its attempts."""
BATCH = 30.0
"""One statement of the nightly check or of a clean-up, which reads whole tables."""
COMMAND = 3600.0
"""One statement of a command: its operator sees how far it is, and waits."""
PROBE = 2.0
"""Between two questions over the connection that listens for notifications: is it alive, was one lost?"""

# RabbitMQ
BROKER_CONNECT = 4.0
HEARTBEAT = 3
"""Agreed with the broker. Four times as long without a byte ends a connection."""
BROKER_ANSWER = 5.0
"""To open a channel, to declare, and until a published message is confirmed."""
BROKER_CLOSE = 2.0

# Other services, over HTTP: each request as a whole
LOGIN = 2.0
"""What a login asks of the other service."""
DIRECTORY = 2.0
ACCOUNTS = 4.0
"""What a clerk asks about login accounts."""
OPERATIONS = 4.0
"""What the operators' page asks of the other service."""
HOME_PROBE = 8.0
"""The steps of a probe of a home library, over HTTP; the command waits longer."""
FEED = 5.0
"""Beyond the time that the feed itself may wait for something new."""
ISSUER = 4.0

# Requests of others
AT_THE_DOOR = 0.25
"""For a place at work, when all are taken. Then the request is refused: better now than late."""

# Tasks and processes
LEASE = 8.0
"""How long a task may stand still before its lease ends."""
RENEW = 1.0
"""Between two extensions of a lease whose task goes on."""
NIGHTLY_LEASE = 60.0
"""The same for the nightly check, whose progress is a reply of a library: that may take its time."""
CHECK = 2.0
"""One check of /health/ready."""
LAST_REQUESTS = 5
"""Open requests after a stop signal."""
LAST_WORK = 4.0
"""For tasks to clean up: after a stop signal, or when their lease is over."""
LAST_WRITES = 1.5
"""Appends that wait when the process stops."""
CLOSE = 1.0
"""To close a connection or the pool in good order."""
STOP = 9.0
"""From a stop signal until the process ends, whatever still hangs."""

KEEP_ALIVE = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 5),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 2),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 8_000),  # milliseconds without an acknowledgement
    )
    if hasattr(socket, name)
)
"""Options with which the kernel ends a TCP connection whose other side is gone, also an idle one."""
