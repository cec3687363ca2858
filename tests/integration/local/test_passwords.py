"""Passwords of any characters, percent-encoded in an address, open both servers (RFC 3986, section 2.1)."""

from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest

from infra.local.ports import LOOPBACK
from infra.local.postgres import Postgres
from infra.local.rabbitmq import USER, RabbitMQ
from registration.adapters.tables import SCHEMA
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.exchanges import declare_events
from shared.platform.postgres import open_pool
from tests.support.messaging import open_channel
from tests.support.servers import Databases

PASSWORDS = ["a@b:c/d?e#f%g", "100%25 +h&i=j;k,l", "'\"\\ é€[]{}|^~"]


@pytest.mark.parametrize("password", PASSWORDS)
async def test_at_postgresql(postgres: Postgres, databases: Databases, password: str) -> None:
    user = f"odd user-{uuid4().hex[:8]}"
    literal = password.replace("'", "''")
    postgres.sql(f"CREATE ROLE \"{user}\" LOGIN SUPERUSER PASSWORD '{literal}'")
    try:
        place = databases(scripts=SCHEMA).rpartition("@")[2]
        url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{place}"
        async with await open_pool(url, min_size=1, max_size=1) as pool:
            assert await pool.fetchval("SELECT current_user") == user
        with pytest.raises(asyncpg.InvalidPasswordError):
            await open_pool(url.replace("@", "x@"), min_size=1, max_size=1)
    finally:
        postgres.sql(f'DROP ROLE "{user}"')


@pytest.mark.parametrize("password", PASSWORDS)
async def test_at_rabbitmq(rabbitmq: RabbitMQ, password: str) -> None:
    user, vhost = f"odd user-{uuid4().hex[:8]}", f"a/b%{uuid4().hex[:8]}"
    name, secret, by = (f"<<{', '.join(map(str, text.encode()))}>>" for text in (user, password, USER))
    users, place, anything = "rabbit_auth_backend_internal", f'<<"{vhost}">>', '<<".*">>'
    rabbitmq.create_vhost(vhost)
    rabbitmq.evaluate(
        f"ok = {users}:add_user({name}, {secret}, {by}),"
        f" ok = {users}:set_permissions({name}, {place}, {anything}, {anything}, {anything}, {by})"
    )
    try:
        at = f"@{LOOPBACK}:{rabbitmq.port}/{quote(vhost, safe='')}"
        url = f"amqp://{quote(user, safe='')}:{quote(password, safe='')}"
        async with open_channel(url + at) as channel:
            await declare_events(channel, "registration")
        with pytest.raises(BrokerUnavailable) as refused:
            async with open_channel(f"{url}x{at}"):
                pass
        assert password not in str(refused.value)
    finally:
        rabbitmq.evaluate(f"ok = {users}:delete_user({name}, {by})")
        rabbitmq.delete_vhost(vhost)
