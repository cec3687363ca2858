"""R29: `registration guests import`, as an operator uses it, over a real database."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from registration.adapters.guest_file import LONGEST_LINE
from registration.application.dependencies import Context
from registration.application.erase_guest import erase_personal_data
from registration.application.import_guests import BATCH
from registration.application.register_guest import register_guest
from registration.application.show_guest import show_guest
from registration.bootstrap import Replacements, Service, open_service, view_source
from registration.cli import guest_import
from registration.cli.main import app
from registration.domain.errors import AlreadyRegistered, LikelyDuplicate
from registration.domain.login_link import LinkState
from registration.domain.term_check import Status
from registration.domain.verdict import PatronDetails, Valid
from registration.read_models import VIEWS
from registration.settings import Settings
from shared.cli.running import exit_code
from shared.event_log import Metadata
from shared.projections.verify import verify
from tests.integration.home_library.test_replies import text_of
from tests.support.home_libraries import Sip2Host, checked, sip2_host
from tests.support.imported_guests import GOOD, HEADING, LIBRARIES, line, many, started, written
from tests.support.projections import follow_all
from tests.support.registration import WatchedHomeLibraries, registering

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
CLERK = Context("1001", Metadata("m.visser", uuid4()))


@pytest.fixture
def installation(settings: Settings) -> Settings:
    """The settings, with two home libraries. Nobody listens there: an import asks none."""
    settings.home_libraries.write_text(LIBRARIES, "utf-8")
    return settings


def imports(file: Path, *options: object) -> int:
    command = ["guests", "import", file, "--organisation", "1001", "--source", "old-system", "--by", "beheer"]
    return exit_code(app, "registration", [str(each) for each in (*command, *options)])


def counts_of(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    shown = json.loads(capsys.readouterr().out)
    return {name: count for name, count in shown.items() if count and isinstance(count, int)}


def guests_in(database: str) -> dict[UUID, bytes]:
    """The first event of each guest who was imported."""

    async def read() -> dict[UUID, bytes]:
        connection = await asyncpg.connect(database)
        try:
            rows = await connection.fetch(
                "SELECT originator_id, state FROM stored_events WHERE topic = 'registration.guest-imported'"
            )
        finally:
            await connection.close()
        return {row["originator_id"]: row["state"] for row in rows}

    return asyncio.run(read())


async def with_views(service: Service) -> None:
    """The views catch up, and are what the log leads to."""
    source = view_source(service.settings)
    await follow_all(service, VIEWS, source)
    for view in VIEWS:
        assert (await verify(source, view, lambda _: None)).differences == ()


def test_r29_the_examples_of_the_docs_are_imported_and_both_say_the_same(
    installation: Settings, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imports(EXAMPLES / "guests.csv", "--json") == 0
    assert counts_of(capsys) == {"lines": 4, "imported": 4}
    assert imports(EXAMPLES / "guests.jsonl", "--json") == 0
    assert counts_of(capsys) == {"lines": 4, "unchanged": 4}
    assert len(guests_in(database)) == 4

    async def look() -> None:
        async with open_service(installation) as service:
            await with_views(service)
            rows = await service.pool.fetch("SELECT * FROM guest_directory ORDER BY card_number")
            assert [(row["name"], row["header"]) for row in rows] == SHOWN
            views = [await show_guest(row["stream_id"], "1001", service.deps) for row in rows]
            await views_say_nothing_happened_today(service, views[2].guest_id)
        assert views[1].aliases == ("0880000017", "0880000025")
        strips = [(len(view.contributions), view.lending_strips) for view in views]
        assert strips == [(1, 125), (3, 125), (2, 0), (1, 125)]
        none, pending = LinkState.NONE, LinkState.PENDING
        assert [view.login_link.state for view in views] == [pending, none, none, pending]
        assert not any(view.term.provisional for view in views)
        assert {view.home.verdict for view in views} == {"not_asked"}

    asyncio.run(look())


SHOWN = [
    ("A. Voorbeeld", "Normaal December 2026"),
    ("Vries, P. de", "Normaal Mei 2027"),
    ("J. Bakker", "Ongeldig  Opgezegd, reden overig"),
    ("S. Smit", "Normaal"),
]


async def views_say_nothing_happened_today(service: Service, expired: UUID) -> None:
    """Three are due at night, one ended long ago, and nobody was registered today."""
    assert await service.pool.fetchval("SELECT count(*) FROM terms_due") == 3
    at_the_desk = "SELECT coalesce(sum(registered), 0) FROM desk_statistics"
    assert await service.pool.fetchval(at_the_desk) == 0
    ended = await service.pool.fetch("SELECT stream_id, ended_on FROM ended_guests")
    assert [tuple(row) for row in ended] == [(expired, date(2025, 1, 10))]
    history = await service.pool.fetch("SELECT what, by, details->>'source' FROM guest_history")
    assert {tuple(row) for row in history} == {("guest-imported", "beheer", "old-system")}


MISTAKES: Sequence[tuple[str, str]] = (
    (line(card_number="0990-139305"), "card_number: this is not a card number"),
    (line(card_number=None), "card_number: it is missing"),
    (line(home_isil="L-070288"), "home_isil: this is not an ISIL code"),
    (line(home_isil="NL-999999"), "home_isil: this home library is not in the settings"),
    (line(home_isil="NL-070297"), "a library of the organisation itself"),
    (line(branch="1"), "branch: the organisation has no such branch"),
    (line(subscription="999"), "subscription: there is no such subscription"),
    (line(registered_on="2025-02-30"), "registered_on: there is no such day"),
    (line(registered_on="01-02-2025"), "registered_on: must be a day like 2026-11-30"),
    (line(registered_on="2190-01-01", valid_until=None), "registered_on: it is in the future"),
    (line(birth_date="2024-01-01"), "birth_date: it is not before the registration"),
    (line(valid_until="2022-01-01"), "valid_until: it is before the registration"),
    (line(card_has_chip="perhaps"), "card_has_chip: must be yes or no"),
    (line(email="nobody"), "email: is no e-mail address"),
    (line(name="n" * 201), "name: string should have at most 200 characters"),
    (line(contributions="2025"), "contributions: must hold rows like"),
    (line(contributions="2023-02-01/2025-12-31 Normaal"), "does not end with valid_until"),
    (
        line(contributions="2025-01-01/2026-12-31 Normaal | 2023-02-01/2025-06-01 Normaal"),
        "contributions: the rows overlap, or are not newest first",
    ),
    (line(contributions="2022-01-01/2026-12-31 Normaal"), "a row begins before the registration"),
    (line(contributions="2023-02-01/2026-12-31 Halfgeldig"), "contributions: input should be"),
    (
        line(card_has_chip="perhaps", branch="1", subscription="2"),
        "yes or no; branch: the organisation has no",
    ),
    ("only,three,cells", "it has 3 values for 16 columns"),
    ('"not closed' + line(), "a quotation mark is not closed on this line"),
    (line(card_aliases="0880000017 0_1"), "card_aliases: this is not a card number"),
)


def with_mistakes(folder: Path) -> tuple[Path, dict[int, str]]:
    """A file with every kind of mistake, and two guests without any; line -> what is wrong with it."""
    file = written(folder, [text for text, _ in MISTAKES])
    with file.open("ab") as more:
        more.write(line(card_number="1", name="Zo\xeb").encode("latin-1") + b"\n")
        more.write(line(card_number="2", name="a\x00b").encode() + b"\n")
        more.write(b"x" * 10_000_000 + b"\n")
        more.write(line(key="same", card_number="3", login_account_id="acc-1").encode() + b"\n\n")
        more.write(line(key="same", card_number="4").encode() + b"\n")
        more.write(line(card_number="5", card_aliases="3").encode() + b"\n")
        more.write(line(card_number="6", login_account_id="acc-1").encode() + b"\n")
        more.write(line(card_number="7").encode())  # without a line end
    first = len(MISTAKES) + 2
    return file, {
        **dict(enumerate((text for _, text in MISTAKES), start=2)),
        first: "the line is not written in UTF-8",
        first + 1: "the line has a control character",
        first + 2: f"the line is longer than {LONGEST_LINE} bytes",
        first + 5: f"key: line {first + 3} has it too",
        first + 6: f"card_number: line {first + 3} has this number too",
        first + 7: f"login_account_id: line {first + 3} has it too",
    }


def test_r29_check_tells_every_mistake_with_its_line_and_writes_nothing(
    installation: Settings, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, expected = with_mistakes(tmp_path)
    report = tmp_path / "report.csv"
    assert imports(file, "--check", "--report", report) == 1
    told = list(csv.reader(report.read_text("utf-8").splitlines()))
    assert told[0] == ["line", "kind", "text"]
    assert [(int(number), kind) for number, kind, _ in told[1:]] == [
        (number, "mistake") for number in expected
    ]
    assert [text for number, _, text in told[1:] if expected[int(number)] not in text] == []
    shown = capsys.readouterr().out
    assert shown.count("mistake:") == 20
    assert f"and {len(expected) - 20} more, in the report" in shown
    assert "2 guests can be imported" in shown
    assert f"{len(expected)} with mistakes" in shown
    assert "Voorbeeld" not in shown + report.read_text("utf-8")
    assert guests_in(database) == {}

    assert imports(file) == 1
    assert "Nothing was imported: correct them, or pass --skip-mistakes" in capsys.readouterr().err
    assert guests_in(database) == {}
    assert imports(file, "--skip-mistakes", "--json") == 0
    assert counts_of(capsys)["imported"] == 2
    assert len(guests_in(database)) == 2


JSON_MISTAKES = (
    ("{", "the line is not JSON"),
    ("[]", "the line is not a JSON object"),
    (json.dumps({**GOOD, "card_number": 990139305}), "card_number: input should be a valid string"),
    (json.dumps({**GOOD, "registered_on": 1700000000}), "registered_on: must be a day like"),
    (json.dumps({**GOOD, "nickname": "An"}), "it has an unknown field"),
    (json.dumps({**GOOD, "contributions": [{"begin": "2023-02-01"}]}), "contributions: it is missing"),
    (json.dumps({**GOOD, "card_aliases": [["1"]]}), "card_aliases: input should be a valid string"),
    (json.dumps({**GOOD, "valid_until": 0}), "valid_until: must be a day like"),
    (
        json.dumps({**GOOD, "login_account_id": "jan/7"}),
        "login_account_id: is no id of a login account",
    ),
    (json.dumps({**GOOD, "login_account_id": ".."}), "login_account_id: is no id of a login account"),
)


def test_r29_mistakes_of_json_lines(
    installation: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "guests.ndjson"
    file.write_text("\n".join(text for text, _ in JSON_MISTAKES), "utf-8")
    assert imports(file, "--check", "--json") == 1
    told = json.loads(capsys.readouterr().out)["findings"]
    assert [each["line"] for each in told] == list(range(1, len(JSON_MISTAKES) + 1))
    pairs = zip(told, JSON_MISTAKES, strict=True)
    assert [each for each, (_, text) in pairs if text not in each["text"]] == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (f"{HEADING}\n{line()}\n".encode("utf-16"), "UTF-16"),
        (b"card_number,nickname\n1,2\n", "the heading has unknown columns: nickname"),
        (b"card_number,card_number\n", "the heading has twice: card_number"),
        (b"card_number\n", "the heading lacks: home_isil"),
        (b"x" * 200_000, "the heading the line is longer"),
        (b"", "the heading"),
    ],
)
def test_r29_a_file_that_cannot_be_one_of_guests_is_refused_as_a_whole(
    installation: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, text: str
) -> None:
    file = tmp_path / "guests.csv"
    file.write_bytes(content)
    assert imports(file) == 1
    error = capsys.readouterr().err
    assert text in error
    assert "Nothing was imported" in error
    assert "Traceback" not in error


def test_r29_a_file_as_a_spreadsheet_writes_it_is_read(
    installation: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a byte order mark, semicolons, CR LF, empty lines and a comma inside a cell."""
    head, row = HEADING.replace(",", ";"), line(name="Vries, P. de").replace('","', '";"')
    file = tmp_path / "guests.CSV"
    file.write_bytes(b"\xef\xbb\xbf" + f"{head}\r\n{row}\r\n\r\n".encode())
    assert imports(file, "--json") == 0
    assert counts_of(capsys) == {"lines": 1, "imported": 1}
    unknown = shutil.copy(file, tmp_path / "guests.txt")
    assert imports(Path(unknown)) == 1
    assert "pass --format" in capsys.readouterr().err
    assert imports(Path(unknown), "--format", "csv", "--json") == 0
    assert counts_of(capsys) == {"lines": 1, "unchanged": 1}


AFTERWARDS = (
    line(key="1", name="Iemand anders"),
    line(key="2", card_number="2", login_account_id="acc-2"),
    line(key="3", card_number="3"),
    line(key="4", card_number="4", login_account_id="acc-4"),
)


def test_r29_who_is_known_is_told_and_left_as_it_is(
    installation: Settings, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Imported with other values, registered here, erased since, or with a login account of another guest."""
    file = written(tmp_path, [line(key="1"), line(key="2", card_number="2", login_account_id="acc-2")])
    assert imports(file) == 0
    before = guests_in(database)

    async def happens_meanwhile() -> UUID:
        home = WatchedHomeLibraries()
        home.answers("NL-070288", "3", Valid(PatronDetails("P. Anders"), None, "3"))
        async with open_service(installation, Replacements(home_libraries=home)) as service:
            registered = await register_guest(registering("3"), CLERK, service.deps)
            rows = "SELECT guest_id FROM registration_accounts WHERE account_id = 'acc-2'"
            erased: UUID = await service.pool.fetchval(rows)
            await erase_personal_data(erased, CLERK.metadata, service.deps)
        return registered.resource_id

    registered = asyncio.run(happens_meanwhile())
    file = written(tmp_path, AFTERWARDS)
    capsys.readouterr()
    assert imports(file, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(each["line"], each["kind"]) for each in shown["findings"]] == [
        (2, "differs"),
        (3, "erased"),
        (4, "already-here"),
    ]
    assert str(registered) in shown["findings"][2]["text"]
    assert shown["imported"] == 1
    after = guests_in(database)
    assert {guest_id: after[guest_id] for guest_id in before} == before
    assert len(after) == 3

    taken = written(tmp_path, [line(key="5", card_number="5", login_account_id="acc-4")])
    assert imports(taken, "--check", "--json") == 1
    assert "has this login account" in json.loads(capsys.readouterr().out)["findings"][0]["text"]


def test_r29_two_imports_of_one_file_at_once_write_each_guest_once(
    installation: Settings, database: str, tmp_path: Path
) -> None:
    file = written(tmp_path, many(3 * BATCH))
    running = [started(file) for _ in range(2)]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert len(guests_in(database)) == 3 * BATCH


def test_r10_r28_an_imported_guest_is_found_as_any_other(installation: Settings, tmp_path: Path) -> None:
    """By every card at the counter, and as the person who comes with a card of another library."""
    address = "Brink 1, 9301 JK Roden"
    row = line(card_aliases="0880000017", birth_date="1980-02-03", address=address)
    assert imports(written(tmp_path, [row])) == 0

    async def at_the_counter() -> None:
        home = WatchedHomeLibraries()
        details = PatronDetails("A. Voorbeeld", date(1980, 2, 3), address)
        home.answers("NL-083424", "777", Valid(details, None, "777"))
        async with open_service(installation, Replacements(home_libraries=home)) as service:
            await with_views(service)
            for card in ("0990139305", "0880000017"):
                with pytest.raises(AlreadyRegistered):
                    await register_guest(registering(card), CLERK, service.deps)
            with pytest.raises(LikelyDuplicate):
                await register_guest(registering("777", home_isil="NL-083424"), CLERK, service.deps)

    asyncio.run(at_the_counter())


def test_r19_the_erasure_of_an_imported_guest_removes_all_that_finds_it(
    installation: Settings, tmp_path: Path
) -> None:
    assert imports(written(tmp_path, [line(login_account_id="acc-1")])) == 0

    async def erased() -> None:
        async with open_service(installation) as service:
            guest_id = await service.pool.fetchval("SELECT guest_id FROM imported_guests")
            await erase_personal_data(guest_id, CLERK.metadata, service.deps)
            for table in ("registrations", "registration_accounts", "imported_guests", "data_keys"):
                assert await service.pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608
            view = await show_guest(guest_id, "1001", service.deps)
            assert (view.status, view.details, view.login_link.account_id) == (Status.ERASED, None, None)

    asyncio.run(erased())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--organisation", "9999"), "There is no organisation 9999"),
        (("--source", "Old System"), "a-z"),
        (("--format", "xml"), "csv or jsonl"),
        (("--report", "guests.csv"), "exists already"),
    ],
)
def test_r29_what_is_asked_for_is_checked(
    installation: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    text: str,
) -> None:
    file = written(tmp_path, [line()])
    options = tuple(str(file) if option == "guests.csv" else option for option in options)
    assert imports(file, *options) in {1, 2}
    assert text in capsys.readouterr().err


async def test_r12_home_libraries_are_asked_only_when_that_is_asked_for(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As the nightly check does it, when its view has the imported guests."""
    file = written(tmp_path, [line()])
    async with sip2_host(Sip2Host()) as host:
        host.usually[b"63"] = checked(text_of("valid_no_end_known"))
        settings.home_libraries.write_text(
            f'[libraries.NL-070288]\nhost = "127.0.0.1"\nport = {host.port}\nexpiry_field = "PA"\n', "utf-8"
        )
        monkeypatch.setattr(guest_import, "VIEW_SECONDS", 0.1)
        assert await asyncio.to_thread(imports, file, "--ask-home") == 1
        assert "the view terms_due does not move" in capsys.readouterr().err
        async with open_service(settings) as service:
            await with_views(service)
        assert await asyncio.to_thread(imports, file) == 0
        assert host.questions() == []
        assert await asyncio.to_thread(imports, file, "--ask-home") == 0
        assert "Done: 1 guests checked" in capsys.readouterr().out
        assert len(host.questions()) == 1
