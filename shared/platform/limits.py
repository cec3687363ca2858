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
"""One question to the account directory as a whole, with all that belongs to it: token, TLS, pages."""
DIRECTORY_BATCH = 8.0
"""Several accounts, for a worker."""
ACCOUNTS = 4.0
"""What a clerk asks about login accounts."""
BESIDE_A_PAGE = 1.0
"""What a page says of login accounts beside its own data: it is shown without them rather than late."""
DIRECTORY_BESIDE_A_PAGE = 0.6
"""What identity asks its directory for such a page: less, so that its own accounts are there in time."""
OPERATIONS = 5.0
"""What the operators' page asks of the other service."""
HOME_PROBE = 8.0
"""The steps of a probe of a home library, over HTTP; the command waits longer."""
RELOAD = 3.8
"""Until all processes have taken changed files of settings, over HTTP; the command waits longer."""
WEBHOOK = 5.0
"""Until a receiver of webhooks has taken one message. Less than a lease."""
FEED = 5.0
"""Beyond the time that the feed itself may wait for something new."""
ISSUER = 4.0
TOKEN = 3.0
"""To fetch a token for calls to the other service: discovery and the token endpoint together."""
TOKEN_PAUSE, LONGEST_TOKEN_PAUSE = 0.5, 8.0
"""After a token that could not be fetched: the first pause and the longest one."""

# Requests of others
AT_THE_DOOR, AT_THE_DOOR_IN_A_FLOOD = 1.0, 0.02
"""For a place at work, when all are taken. Then the request is refused: better now than late."""

# Tasks and processes
LEASE = 8.0
"""How long a task may stand still before its lease ends."""
RENEW = 1.0
"""A task that has nothing to do says so this often; and its pause before it begins again."""
LEASE_SESSION = 6.0
"""PostgreSQL ends the connection that holds a process's leases after so long without a statement on it."""
LEASE_PROVEN = 5.0
"""Without an answer on it for so long the process takes its leases for lost: sooner than they are."""
LEASE_PROOF = 2.0
"""Between two statements on it; and one of them."""
LEASE_TRY = 1.0
"""The same while the process waits for a lease that another one holds."""
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
