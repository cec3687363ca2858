"""SIP2 servers that nobody here wrote: the product asks them, and a probe reports what it finds (R4, R23)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries, home_libraries
from registration.adapters.home_library.settings import Credentials, Directory, Library
from registration.bootstrap import home_library_http
from registration.cli.main import app
from registration.domain.verdict import NotFound, PatronDetails, Reason, Refused, Unavailable, Valid, Verdict
from shared.cli.running import exit_code
from tests.support.installation import put_into_environment
from tests.support.peers.sip2 import (
    BLOCKED,
    FINES,
    INVALID,
    LOST,
    NOBODY,
    PACKAGES,
    VALID,
    Sip2Peer,
    sip2_peer,
)
from tests.support.registration_service import settings_in
from tests.support.tokens import Signer

ISIL = "NL-070288"
ZOE = PatronDetails("Zoë Brouwér", None, "Brink 3, 9301 JK Roden", "zoe@voorbeeld.nl")


@pytest.fixture(scope="module", params=PACKAGES, ids=lambda package: package.name)
def peer(request: pytest.FixtureRequest) -> Iterator[Sip2Peer]:
    with sip2_peer(request.param) as running:
        yield running


def settings_for(peer: Sip2Peer, **more: object) -> Library:
    known = {"host": "127.0.0.1", "port": peer.port, "institution": ISIL, "encoding": peer.encoding}
    return Library.model_validate(
        {
            **known,
            "username_env": "U",
            "password_env": "P",
            "answer_seconds": 10,
            "connect_seconds": 10,
            **more,
        }
    )


@pytest.fixture
async def libraries(peer: Sip2Peer) -> AsyncIterator[DirectoryHomeLibraries]:
    directory = Directory({ISIL: settings_for(peer)}, {ISIL: Credentials("gast", "geheim")}, {})
    found = home_libraries(directory, home_library_http)
    yield found
    await found.close()


def refused(card: str, *reasons: Reason) -> Refused:
    return Refused(reasons, False, ZOE, None, card)


EXPECTED: dict[str, Verdict] = {
    VALID: Valid(ZOE, None, VALID),
    BLOCKED: refused(BLOCKED, Reason.BLOCKED),
    LOST: refused(LOST, Reason.BLOCKED, Reason.CARD_LOST),
    FINES: refused(FINES, Reason.FINES),
    INVALID: refused(INVALID, Reason.BLOCKED),
    NOBODY: NotFound(),
}


async def test_r4_each_card_gets_its_verdict_over_kept_connections(libraries: DirectoryHomeLibraries) -> None:
    for _ in range(3):
        for card, verdict in EXPECTED.items():
            assert await libraries.ask(ISIL, card) == verdict


async def test_r4_many_at_once_each_get_their_own(libraries: DirectoryHomeLibraries) -> None:
    cards = list(EXPECTED) * 5
    found = await asyncio.gather(*(libraries.ask(ISIL, card) for card in cards))
    assert found == [EXPECTED[card] for card in cards]


async def test_r4_wrong_credentials_are_refused(peer: Sip2Peer) -> None:
    directory = Directory({ISIL: settings_for(peer)}, {ISIL: Credentials("gast", "fout")}, {})
    found = home_libraries(directory, home_library_http)
    assert await found.ask(ISIL, VALID) == Unavailable("login refused")
    await found.close()


Probed = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def probed(
    peer: Sip2Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Probed:
    """The exit code and the report of `registration home-library probe`, which is also shown."""
    settings = settings_in(tmp_path, "postgresql://127.0.0.1:9/none", Signer(tmp_path / "jwks.json"))
    put_into_environment(settings, monkeypatch)
    monkeypatch.setenv("PROBED_USERNAME", "gast")

    def run(
        card: str, *, knows_password: bool = True, encoding: str = peer.encoding
    ) -> tuple[int, list[str]]:
        monkeypatch.setenv("PROBED_PASSWORD", "geheim" if knows_password else "fout")
        settings.home_libraries.write_text(
            f'[libraries.{ISIL}]\nname = "{peer.name}"\nhost = "127.0.0.1"\nport = {peer.port}\n'
            f'username_env = "PROBED_USERNAME"\npassword_env = "PROBED_PASSWORD"\n'
            f'encoding = "{encoding or peer.encoding}"\n'
            f'institution = "{ISIL}"\nanswer_seconds = 10.0\nconnect_seconds = 10.0\n'
        )
        code = exit_code(app, "registration", ["home-library", "probe", ISIL, card])
        report = capsys.readouterr().out
        with capsys.disabled():
            print(f"\n{peer.name} {peer.version}: probe of {card}\n{report}")  # noqa: T201 - the report is wanted
        assert "geheim" not in report
        return code, [line.strip() for line in report.splitlines()]

    return run


def test_the_probe_of_a_member_is_green(peer: Sip2Peer, probed: Probed) -> None:
    code, report = probed(VALID)
    steps = [line for line in report if line.startswith(("✓", "✗"))]
    assert code == 0
    assert [line.split()[1] for line in steps[:1]] == ["connect"]
    assert [line[0] for line in steps] == ["✓"] * 6
    assert steps[-2].endswith("replied to 5 questions over one connection")
    assert steps[-1].endswith("valid; no end date known")
    assert any(f"AA{VALID}" in line and "AEZoë Brouwér" in line for line in report)
    assert any("AO" in line and line.startswith("< 98") for line in report)


def test_the_probe_reports_a_refusal_and_a_card_that_nobody_has(probed: Probed) -> None:
    assert probed(FINES)[1][-1].endswith("refused: fines; no end date known")
    assert probed(NOBODY)[1][-1].endswith("not found: the library does not know this card")


def test_the_probe_says_what_to_do_about_a_wrong_password(probed: Probed) -> None:
    code, report = probed(VALID, knows_password=False)
    assert code == 1
    assert report[-1].startswith("→ check PROBED_USERNAME, PROBED_PASSWORD and location")


def test_the_probe_names_the_encoding_that_fits(peer: Sip2Peer, probed: Probed) -> None:
    other = {"cp850": "iso-8859-1", "utf-8": "cp850"}[peer.encoding]
    code, report = probed(VALID, encoding=other)
    assert code == 0
    assert report[-1] == f'→ the name looks odd; it would be "Zoë Brouwér" with encoding = "{peer.encoding}"'
