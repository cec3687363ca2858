"""`parked list|show|retry|discard` of both services, as an operator uses them (I8)."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.messaging.envelope import Message
from shared.messaging.parked import ParkedSubjects, State
from shared.platform.postgres import open_pool
from tests.support.installation import Installation

Captured = pytest.CaptureFixture[str]
T = TypeVar("T")
REASON = "ValueError: what an older release could not do"
UNKNOWN = "00000000-0000-0000-0000-000000000001"


def in_database(installed: Installation, work: Callable[[asyncpg.Pool], Awaitable[T]]) -> T:
    """Do something in the service's database."""

    async def do() -> T:
        url = installed.settings.database_url.get_secret_value()
        async with await open_pool(url, min_size=1, max_size=2) as pool:
            return await work(pool)

    return asyncio.run(do())


def message(installed: Installation, beyond: int, kind: str, guest_id: UUID | None = None) -> Message:
    """A message, so many versions after the last one that was received."""
    return Message(
        id=uuid4(),
        source="/registration/tests",
        type=kind,
        subject=guest_id or installed.guest_id,
        time=datetime(2025, 9, 11, tzinfo=UTC),
        stream_version=installed.received + beyond,
        position=beyond,
        correlation_id=uuid4(),
        causation_id=None,
        data={},
    )


def park(installed: Installation, messages: list[Message], state: State = State.PARKED) -> None:
    """Park a guest, with the first message as the failed one."""
    in_database(
        installed,
        lambda pool: ParkedSubjects(pool).park(messages[0].subject, state, REASON, messages, messages[0].id),
    )


def applied(installed: Installation) -> list[tuple[int, bool]]:
    """The versions after the last one received that the inbox is past, and whether each was discarded."""

    async def rows(pool: asyncpg.Pool) -> list[tuple[int, bool]]:
        found = await pool.fetch(
            "SELECT stream_version, discarded FROM inbox"
            " WHERE guest_id = $1 AND stream_version > $2 ORDER BY stream_version",
            installed.guest_id,
            installed.received,
        )
        return [(row["stream_version"] - installed.received, row["discarded"]) for row in found]

    return in_database(installed, rows)


@pytest.fixture
def parked(installed: Installation) -> Installation:
    """A service with one parked guest: its failed message can be applied by now, and one more waits."""
    installed.live()
    park(installed, [message(installed, 1, installed.harmless), message(installed, 2, installed.harmless)])
    return installed


@pytest.fixture
def stuck(installed: Installation) -> Installation:
    """A service with one parked guest: its failed message stays faulty, and one more waits."""
    installed.live()
    park(installed, [message(installed, 1, installed.faulty), message(installed, 2, installed.harmless)])
    return installed


def output_of(installed: Installation, capsys: Captured, *arguments: str) -> str:
    """What a command that succeeds writes to standard output; it writes nothing else."""
    capsys.readouterr()
    assert installed.run("parked", *arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def refused(installed: Installation, capsys: Captured, *arguments: str, code: int = 1) -> str:
    """The one line on standard error of a command that fails."""
    capsys.readouterr()
    assert installed.run("parked", *arguments) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith(f"{installed.name}: ")
    return captured.err


def read(installed: Installation, capsys: Captured, *arguments: str) -> Any:
    """What a command says to scripts."""
    return json.loads(output_of(installed, capsys, *arguments, "--json"))


def test_the_status_is_what_the_operators_page_shows(stuck: Installation, capsys: Captured) -> None:
    assert stuck.run("status", "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert all(view["lag"] >= 0 and not view["live"] for view in state["views"])
    assert [(queue["name"], queue["lag"]) for queue in state["queues"]] == [("sweep", None)]
    assert (state["parked_total"], state["parked"][0]["guest_id"]) == (1, str(stuck.guest_id))
    assert stuck.run("status") == 0
    shown = capsys.readouterr().out
    assert str(stuck.guest_id) in shown
    assert "1 parked guests, 0 unreadable messages." in shown


def test_i8_list_names_the_guest_the_failed_message_and_why(stuck: Installation, capsys: Captured) -> None:
    [guest] = read(stuck, capsys, "list")["guests"]
    assert guest["guest_id"] == str(stuck.guest_id)
    assert (guest["state"], guest["reason"], guest["attempts"]) == ("parked", REASON, 1)
    assert (guest["message"], guest["version"], guest["messages"]) == (stuck.faulty, stuck.received + 1, 2)
    assert datetime.fromisoformat(guest["since"]).tzinfo is not None
    table = output_of(stuck, capsys, "list")
    for text in (str(stuck.guest_id), "parked", stuck.faulty, REASON):
        assert text in table


def test_the_failed_message_need_not_be_the_oldest_of_the_backlog(
    installed: Installation, capsys: Captured
) -> None:
    installed.live()
    first, second = message(installed, 1, installed.harmless), message(installed, 2, installed.faulty)
    park(installed, [second, first])
    [guest] = read(installed, capsys, "list")["guests"]
    assert (guest["message"], guest["version"]) == (installed.faulty, installed.received + 2)


def test_list_also_names_what_was_no_message(installed: Installation, capsys: Captured) -> None:
    assert read(installed, capsys, "list") == {"guests": [], "unreadable": []}
    assert "unreadable messages" not in output_of(installed, capsys, "list")
    in_database(
        installed,
        lambda pool: pool.execute(
            "INSERT INTO unreadable_messages (body, reason) VALUES ($1, $2)", b"\xffnonsense", "not JSON"
        ),
    )
    [unreadable] = read(installed, capsys, "list")["unreadable"]
    assert (unreadable["bytes"], unreadable["reason"]) == (9, "not JSON")
    table = output_of(installed, capsys, "list")
    assert "unreadable messages" in table
    assert "not JSON" in table


def test_i8_show_has_the_backlog_in_order(stuck: Installation, capsys: Captured) -> None:
    shown = read(stuck, capsys, "show", str(stuck.guest_id))
    assert shown["state"] == "parked"
    line = [(each["version"] - stuck.received, each["type"]) for each in shown["in_line"]]
    assert line == [(1, stuck.faulty), (2, stuck.harmless)]
    text = output_of(stuck, capsys, "show", str(stuck.guest_id))
    for word in (REASON, stuck.faulty, stuck.harmless):
        assert word in text


def test_i8_retry_plays_all_in_order(parked: Installation, capsys: Captured) -> None:
    done = read(parked, capsys, "retry", str(parked.guest_id))
    assert done == {"guest_id": str(parked.guest_id), "through": True, "held": None}
    assert applied(parked) == [(1, False), (2, False)]
    assert read(parked, capsys, "list")["guests"] == []
    assert "parked list" in refused(parked, capsys, "retry", str(parked.guest_id))


def test_i8_retry_that_is_not_through_fails_and_says_why(stuck: Installation, capsys: Captured) -> None:
    error = refused(stuck, capsys, "retry", str(stuck.guest_id))
    assert "still parked" in error
    assert "MalformedMessage" in error
    assert applied(stuck) == []
    assert read(stuck, capsys, "list")["guests"][0]["attempts"] == 2
    assert stuck.run("parked", "retry", str(stuck.guest_id), "--json") == 1
    done = json.loads(capsys.readouterr().out)
    assert (done["through"], done["held"]["attempts"]) == (False, 3)


def test_i8_discard_skips_one_message_and_keeps_who_and_why(stuck: Installation, capsys: Captured) -> None:
    command = ("discard", str(stuck.guest_id), "--reason", "sent by a test", "--by", "anna")
    done = read(stuck, capsys, *command)
    assert (done["through"], done["held"]) == (True, None)
    assert (done["discarded"]["message"], done["discarded"]["version"]) == (stuck.faulty, stuck.received + 1)
    assert applied(stuck) == [(1, True), (2, False)]
    row = in_database(stuck, lambda pool: pool.fetchrow("SELECT * FROM discarded_messages"))
    assert row is not None
    assert (row["reason"], row["discarded_by"]) == ("sent by a test", "anna")


def test_i8_discard_says_when_the_next_one_fails_too(installed: Installation, capsys: Captured) -> None:
    installed.live()
    park(installed, [message(installed, 1, installed.faulty), message(installed, 2, installed.faulty)])
    text = output_of(installed, capsys, "discard", str(installed.guest_id), "--reason", "sent by a test")
    assert f"Discarded {installed.faulty}, version {installed.received + 1}." in text
    assert "still parked" in text
    assert applied(installed) == [(1, True)]


def test_discard_is_by_the_user_who_is_logged_in_here(stuck: Installation, capsys: Captured) -> None:
    output_of(stuck, capsys, "discard", str(stuck.guest_id), "--reason", "sent by a test")
    by = in_database(stuck, lambda pool: pool.fetchval("SELECT discarded_by FROM discarded_messages"))
    assert by == getpass.getuser()


def test_discard_by_nobody_is_refused(
    stuck: Installation, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    error = refused(stuck, capsys, "discard", str(stuck.guest_id), "--reason", "sent by a test")
    assert "--by" in error
    assert applied(stuck) == []


def test_i8_a_waiting_guest_is_not_discarded(installed: Installation, capsys: Captured) -> None:
    installed.live()
    park(installed, [message(installed, 3, installed.harmless)], State.WAITING)
    error = refused(installed, capsys, "discard", str(installed.guest_id), "--reason", "impatience")
    assert "only waiting" in error
    assert applied(installed) == []
    # Retried at once, while the other service still cannot be reached.
    assert "still waiting" in refused(installed, capsys, "retry", str(installed.guest_id))


@pytest.mark.parametrize("command", [["show"], ["retry"], ["discard", "--reason", "x"]], ids=" ".join)
def test_a_guest_who_is_not_parked_is_reported_as_such(
    installed: Installation, command: list[str], capsys: Captured
) -> None:
    assert "parked list" in refused(installed, capsys, *command, UNKNOWN)


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["retry", "nonsense"], ["discard", UNKNOWN], ["discard", UNKNOWN, "--reason", " "]],
    ids=" ".join,
)
def test_misuse_is_2(installed: Installation, arguments: list[str], capsys: Captured) -> None:
    refused(installed, capsys, *arguments, code=2)


@pytest.mark.parametrize("command", ["list", "show", "retry", "discard"])
def test_every_command_has_an_example(installed: Installation, command: str, capsys: Captured) -> None:
    assert f"Example: {installed.name} parked {command}" in output_of(installed, capsys, command, "--help")


NASTY = "ValueError: [/] [bold]\x1b[2J\u202e\n\u2028fout"


def test_no_reason_drives_the_operators_terminal(installed: Installation, capsys: Captured) -> None:
    installed.live()
    messages = [message(installed, 1, installed.faulty)]
    in_database(
        installed,
        lambda pool: ParkedSubjects(pool).park(
            messages[0].subject, State.PARKED, NASTY, messages, messages[0].id
        ),
    )
    for arguments in (["list"], ["show", str(installed.guest_id)]):
        text = output_of(installed, capsys, *arguments)
        assert all(line.isprintable() for line in text.splitlines())
        assert r"[/] [bold]\x1b[2J\u202e" in text
    refusal = refused(installed, capsys, "retry", str(installed.guest_id))
    assert refusal.removesuffix("\n").isprintable()
    assert read(installed, capsys, "list")["guests"][0]["reason"] != ""


@pytest.mark.parametrize(
    ("reason", "by", "kept"),
    [
        ("x\u202egnirts\u202c \x1b[2J ", "j.smit", ("xgnirts  [2J", "j.smit")),
        ("\u200b\u00ad", "j.smit", None),
        ("  ", "j.smit", None),
        ("why", "j\u202esmit", None),
        ("why", "x" * 256, None),
    ],
)
def test_what_an_operator_gives_is_kept_as_it_looks_or_is_misuse(
    stuck: Installation, capsys: Captured, reason: str, by: str, kept: tuple[str, str] | None
) -> None:
    command = ("discard", str(stuck.guest_id), "--reason", reason, "--by", by)
    if kept is None:
        assert "--" in refused(stuck, capsys, *command, code=2)
        return
    assert stuck.run("parked", *command) == 0
    query = "SELECT reason, discarded_by FROM discarded_messages"
    assert [tuple(row) for row in in_database(stuck, lambda pool: pool.fetch(query))] == [kept]
