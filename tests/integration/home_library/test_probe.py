"""ADR 0016: `registration home-library probe`: every step, the wire, what to do; credentials never shown."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local.ports import free_port
from registration.cli.main import app
from shared.cli.running import exit_code
from tests.integration.home_library.test_replies import text_of
from tests.support.home_libraries import (
    LOGGED_IN,
    ON_LINE,
    Answer,
    Sip2Host,
    checked,
    damaged,
    hang_up,
    make_authority,
    plain,
    silence,
    sip2_host,
    with_checksum,
)
from tests.support.installation import put_into_environment
from tests.support.registration_service import settings_in
from tests.support.tokens import Signer
from tests.unit.registration.adapters.home_library.sip2.reading import CARD

ISIL = "NL-070288"
PASSWORD = "zeer-geheim"
LIBRARY = """
[libraries.NL-070288]
name = "Thuis"
host = "127.0.0.1"
port = {port}
username_env = "PROBED_USERNAME"
password_env = "PROBED_PASSWORD"
institution = "NL-070288"
expiry_field = "PA"
aliases = ["NL-070299"]
connect_seconds = 0.5
answer_seconds = 0.3
{more}
"""
Probe = Callable[..., tuple[int, str, str]]


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Probe:
    """Probes a library that replies as the host does; returns the exit code, stdout and stderr."""
    settings = settings_in(tmp_path, "postgresql://127.0.0.1:9/none", Signer(tmp_path / "jwks.json"))
    put_into_environment(settings, monkeypatch)
    monkeypatch.setenv("PROBED_USERNAME", "gast-7")
    monkeypatch.setenv("PROBED_PASSWORD", PASSWORD)

    def run(
        host: Sip2Host | None,
        *arguments: str,
        more: str = "",
        isil: str = ISIL,
        card: str = CARD,
        tls: Any = None,
    ) -> tuple[int, str, str]:
        def command(port: int) -> int:
            settings.home_libraries.write_text(LIBRARY.format(port=port, more=more), "utf-8")
            return exit_code(app, "registration", ["home-library", "probe", isil, card, *arguments])

        async def beside_the_host() -> int:
            assert host is not None
            async with sip2_host(host, tls=tls):
                return await asyncio.to_thread(command, host.port)

        code = command(free_port()) if host is None else asyncio.run(beside_the_host())
        output = capsys.readouterr()
        assert PASSWORD not in output.out + output.err
        assert "gast-7" not in output.out + output.err
        return code, output.out, output.err

    return run


def host_that_says(answer: Answer) -> Sip2Host:
    host = Sip2Host()
    host.usually[b"63"] = answer
    return host


def test_a_probe_shows_every_step_the_wire_and_the_verdict(probe: Probe) -> None:
    host = host_that_says(checked(text_of("valid_no_end_known")))
    code, out, err = probe(host)
    assert (code, err) == (0, "")
    assert host.received[0][0].startswith(b"9300CNgast-7|COzeer-geheim|")
    assert "> 9300CN***|CO***|CP|AY0AZ***" in out
    assert f"AA{CARD}|AC|AY2AZ" in out
    assert "AEZoë Brouwér|BLY|" in out
    assert "valid; no end date known" in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("✓")] == [
        "connect",
        "log",
        "status",
        "ask",
        "again",
        "verdict",
    ]


@pytest.mark.parametrize(
    ("capture", "verdict", "reasons"),
    [
        ("refused_bare_no_is_a_block", "refused", ["blocked"]),
        ("refused_expired", "refused", ["expired-subscription"]),
        ("not_found", "not_found", []),
    ],
)
def test_r4_a_verdict_is_a_verdict_whatever_it_says(
    probe: Probe, capture: str, verdict: str, reasons: list[str]
) -> None:
    code, out, _ = probe(host_that_says(checked(text_of(capture))), "--json")
    output = json.loads(out)
    assert (code, output["verdict"], output["reasons"]) == (0, verdict, reasons)
    assert all(step["ok"] and step["seconds"] >= 0 for step in output["steps"])


def test_r12_called_valid_past_its_end_is_shown_as_expired(probe: Probe) -> None:
    code, out, _ = probe(host_that_says(checked(text_of("valid_end_already_past"))))
    assert code == 0
    assert "expired: reported as valid, but ended on 2025-09-10" in out


def repeats_the_login(question: bytes) -> list[bytes]:
    return [b"940" + question[4:].split(b"AY")[0] + b"\r"]


@pytest.mark.parametrize(
    ("code", "answer", "step", "output"),
    [
        (
            b"93",
            checked(b"940"),
            "log in",
            ("login refused", "check PROBED_USERNAME, PROBED_PASSWORD and location"),
        ),
        (b"93", repeats_the_login, "log in", ("reply cannot be understood", "compare the reply above")),
        (b"93", hang_up, "log in", ("closed the connection before the first question", "ask the library")),
        (b"93", silence, "log in", ("timed out", "connect_seconds (0.5)")),
        (
            b"99",
            checked(ON_LINE.replace(b"98Y", b"98N")),
            "status",
            ("reports that it is off-line", "call the library"),
        ),
        (b"63", silence, "ask", ("timed out", "answer_seconds (0.3)")),
        (b"63", hang_up, "ask", ("closed the connection without a reply", "try another card")),
        (
            b"63",
            checked(text_of("garbled_validity_blank")),
            "verdict",
            ("it leaves out BL", "the reply leaves out BL (Y or N)"),
        ),
        (
            b"63",
            checked(text_of("valid").replace(b"BLY", b"BLQ")),
            "verdict",
            ("reply cannot be understood", "compare the reply above with docs/home-libraries.md"),
        ),
        (
            b"63",
            checked(text_of("refused_charge_denied") + b"CQN|"),
            "verdict",
            ("a PIN that was not given", "reply about cards without a PIN"),
        ),
        (
            b"63",
            checked(text_of("not_found") + b"AFINTERNAL SERVER ERROR|"),
            "verdict",
            ("an error of its own", "if it is none, set error_messages"),
        ),
        (
            b"63",
            checked(text_of("garbled_valid_without_name")),
            "verdict",
            ("it names nobody", "ask the library to send it, and BL N"),
        ),
        (
            b"63",
            checked(text_of("garbled_two_cards")),
            "verdict",
            ("two different things", "AA, AE or BL twice"),
        ),
        (
            b"63",
            lambda question: [b"".join(map(bytes, checked(text_of("valid"))(question)))[:90]],  # type: ignore[arg-type]
            "ask",
            ("timed out", "must end each message with CR or LF"),
        ),
        (b"63", damaged(text_of("valid")), "ask", ("arrived damaged", "the same ones each time")),
        (b"63", plain(text_of("valid")), "ask", ("arrived damaged", "its end is lost")),
        (
            b"93",
            lambda _question: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
            "log in",
            ("reply cannot be understood", "this is not SIP2"),
        ),
    ],
    ids=[
        "refused",
        "echo",
        "hang up",
        "let nobody in",
        "off-line",
        "silent",
        "over this card",
        "says nothing",
        "neither yes nor no",
        "pin",
        "error",
        "nobody",
        "two cards",
        "no line end",
        "wrong checksums",
        "lost its end",
        "http",
    ],
)
def test_r4_a_step_that_fails_is_the_last_and_says_what_to_do(
    probe: Probe, code: bytes, answer: Answer, step: str, output: tuple[str, str]
) -> None:
    host = host_that_says(checked(text_of("valid")))
    host.usually[code] = answer
    left, out, err = probe(host, "--json")
    last = json.loads(out)["steps"][-1]
    assert (left, err, last["step"], last["ok"]) == (1, "", step, False)
    assert output[0] in last["found"]
    assert output[1] in last["advice"]


REPLIES = {b"93": LOGGED_IN, b"99": ON_LINE, b"63": text_of("valid")}


def wants_checksums(question: bytes) -> list[bytes]:
    return [with_checksum(REPLIES[question[:2]], question) if b"AZ" in question else b"96\r"]


def is_silent_without_checksums(question: bytes) -> list[bytes]:
    return [with_checksum(REPLIES[question[:2]], question)] if b"AZ" in question else []


def is_silent_with_checksums(question: bytes) -> list[bytes]:
    return [] if b"AZ" in question else [REPLIES[question[:2]] + b"\r"]


def knows_no_sequence(question: bytes) -> list[bytes]:
    return [with_checksum(REPLIES[question[:2]], b"AY0")]


def sums_characters(question: bytes) -> list[bytes]:
    text = REPLIES[question[:2]].decode("cp850") + "AY" + question[-7:-6].decode() + "AZ"
    return [text.encode() + b"%04X\r" % (-sum(map(ord, text)) & 0xFFFF)]


def writes_latin_1(question: bytes) -> list[bytes]:
    return [with_checksum(REPLIES[question[:2]].decode("cp850").encode("latin-1"), question)]


def has_own_card_numbers(question: bytes) -> list[bytes]:
    text = REPLIES[question[:2]].replace(b"|AA", b"|AALN:")
    return [with_checksum(text, question) if b"AZ" in question else text + b"\r"]


@pytest.mark.parametrize(
    ("peer", "wrong", "hint", "right"),
    [
        (wants_checksums, "checksums = false", ("log in", "set checksums = true"), ""),
        (is_silent_without_checksums, "checksums = false", ("log in", "checksums = true"), ""),
        (is_silent_with_checksums, "", ("log in", "checksums = false"), "checksums = false"),
        (knows_no_sequence, "", ("status", "set checksums = false"), "checksums = false"),
        (sums_characters, "", ("ask", 'set encoding = "utf-8"'), 'encoding = "utf-8"'),
        (writes_latin_1, "", ("verdict", 'encoding = "iso-8859-1"'), 'encoding = "iso-8859-1"'),
        (has_own_card_numbers, "checksums = false", ("verdict", "set checksums = true"), ""),
    ],
)
def test_r23_a_hint_helps_with_a_library_that_behaves_so(
    probe: Probe, peer: Answer, wrong: str, hint: tuple[str, str], right: str
) -> None:
    host = Sip2Host()
    host.usually = dict.fromkeys(REPLIES, peer)
    _, out, _ = probe(host, "--json", more=wrong)
    last = json.loads(out)["steps"][-1]
    assert (last["step"], hint[1] in last["advice"]) == (hint[0], True), last
    code, out, _ = probe(host, "--json", more=right)
    steps = json.loads(out)["steps"]
    assert (code, json.loads(out)["verdict"], steps[-1]["advice"]) == (0, "valid", "")


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("after_it", [silence, hang_up])
def test_r4_a_library_that_replies_to_few_questions_over_a_connection_is_found_out(
    probe: Probe, limit: int, after_it: Answer
) -> None:
    host = Sip2Host()
    host.usually[b"63"] = lambda question: (
        checked(text_of("valid"))(question) if len(host.received[-1]) <= 2 + limit else after_it(question)
    )
    code, out, _ = probe(host, "--json")
    *_, again, verdict = json.loads(out)["steps"]
    assert (code, again["step"], again["ok"], verdict["ok"]) == (1, "again", False, True)
    assert again["advice"].endswith(f"set questions_per_connection = {limit}")
    code, out, _ = probe(host, more=f"questions_per_connection = {limit}")
    assert code == 0
    assert "→" not in out


@pytest.mark.parametrize("after_it", [silence, hang_up])
def test_r4_a_library_for_which_the_status_is_the_one_question_is_found_out(
    probe: Probe, after_it: Answer
) -> None:
    def one(question: bytes) -> Any:
        others = [message for message in host.received[-1] if message[:2] != b"93"]
        return checked(REPLIES[question[:2]])(question) if len(others) == 1 else after_it(question)

    host = Sip2Host()
    host.usually |= {b"99": one, b"63": one}
    _, out, _ = probe(host, "--json")
    last = json.loads(out)["steps"][-1]
    assert (last["step"], last["advice"].rpartition(": ")[2]) == ("ask", "set questions_per_connection = 1")
    code, out, _ = probe(host, "--json", more="questions_per_connection = 1")
    assert (code, json.loads(out)["verdict"]) == (0, "valid")


def test_a_library_that_is_down_is_reported_with_what_to_do(probe: Probe) -> None:
    code, out, err = probe(None)
    assert (code, err) == (1, "")
    assert "✗ connect" in out
    assert "cannot connect: Connection refused" in out
    assert "→ check host and port" in out


def test_a_terminal_obeys_nothing_that_a_library_says(probe: Probe) -> None:
    named = text_of("valid").replace(b"AEZo\x89 Brouw\x82r", b"AE\x1b[2J[bold]Jan[/bold]")
    code, out, _ = probe(host_that_says(checked(named)))
    assert code == 0
    assert "AE\\x1b[2J[bold]Jan[/bold]" in out


def test_tls_is_a_step_of_its_own(probe: Probe, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    tls = authority.server("sip.library.example")
    more = f'tls = true\ntls_ca_file = "{authority.file}"\ntls_server_name = '
    host = host_that_says(checked(text_of("valid")))
    code, out, _ = probe(host, more=more + '"sip.library.example"', tls=tls)
    assert code == 0
    assert "certificate of sip.library.example until" in out
    code, out, _ = probe(host, more=more + '"other.example"', tls=tls)
    assert code == 1
    assert "✗ TLS" in out
    assert "certificate is not trusted: Hostname mismatch" in out
    assert "tls_server_name" in out


def test_r3_a_merged_library_is_probed_as_the_one_it_is_part_of(probe: Probe) -> None:
    code, out, _ = probe(host_that_says(checked(text_of("valid"))), isil="nl-070299")
    assert code == 0
    assert "NL-070288  Thuis  (NL-070299 merged into it)" in out


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        ({"isil": "L-070288"}, 2, "Invalid value for ISIL: NL- and six digits"),
        ({"card": "0990|139305"}, 2, "Invalid value for CARD: 1 to 20 digits or letters"),
        ({"isil": "NL-000001"}, 1, "NL-000001 is not in "),
        ({"more": "colour = 1"}, 1, "libraries.NL-070288.colour: no such key"),
    ],
    ids=["isil", "card", "unknown", "file"],
)
def test_what_cannot_be_asked_is_reported_in_one_line(
    probe: Probe, arguments: dict[str, str], code: int, output: str
) -> None:
    left, out, err = probe(None, **arguments)
    assert (left, out, err.count("\n")) == (code, "", 1)
    assert output in err
