"""A primary PostgreSQL and its standby: two real servers, of which one may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from infra.local.postgres import Postgres
from tests.support.eventually import until
from tests.support.memory import servers_folder


@dataclass
class Pair:
    """Two servers. `primary` is the one that took the writes at first."""

    primary: Postgres
    standby: Postgres

    def url(self, one: str) -> str:
        """The address of a database of the primary, with both hosts."""
        parts = urlsplit(one)
        role = parts.netloc.rpartition("@")[0]
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        both = parts._replace(netloc=f"{role}@{hosts}", query="target_session_attrs=read-write")
        return both.geturl()

    def confirm_on_both(self) -> None:
        """From now on a commit waits until the standby has it on its disk."""
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.sql("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        until(lambda: self.primary.sql(state) == "sync", within=20)

    def follows(self) -> bool:
        """Whether the standby has received all that the primary has written."""
        written = self.primary.sql("SELECT pg_current_wal_flush_lsn()")
        return self.standby.sql(f"SELECT pg_last_wal_receive_lsn() >= '{written}'") == "t"

    def kill_primary(self) -> None:
        """End the postmaster and all that it started at once, as a machine does that loses its power."""
        postmaster = psutil.Process(self.primary.program.pid)
        started = postmaster.children()
        for process in (postmaster, *started):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([postmaster, *started], timeout=20)

    def follow_the_other_way(self) -> None:
        """The killed server becomes the standby of the one that took over."""
        self.primary, self.standby = self.standby, self.primary
        self.standby.follow(self.primary)
        self.standby.start()

    def fall_behind(self) -> None:
        """From now on the standby receives nothing."""
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.sql("SELECT pg_reload_conf()")
        until(lambda: self.primary.sql("SELECT count(*) FROM pg_stat_replication") == "0", within=20)


@contextmanager
def pair() -> Iterator[Pair]:
    """Both servers, the standby connected; commits do not wait for it yet."""
    with servers_folder("primary") as one, servers_folder("standby") as other:
        servers = Pair(Postgres(one), Postgres(other))
        try:
            servers.primary.start()
            servers.standby.follow(servers.primary)
            servers.standby.start()
            yield servers
        finally:
            servers.standby.stop()
            servers.primary.stop()
