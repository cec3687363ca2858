"""Importing login accounts: all is checked first, mistakes are reported by line, it can be run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.adapters.account_file import COLUMNS, read_account_file
from identity.application.dependencies import Context
from identity.application.import_accounts import (
    AccountLine,
    Imported,
    Mistake,
    check_accounts,
    import_accounts,
)
from identity.domain.login_account import login_account_stream
from tests.support.event_log import make_unreadable
from tests.support.identity import WISECAT, InMemoryIdentity, account_details

HEADING = ",".join(COLUMNS)
JAN = "acc-jan,jan,jan@example.org,NL-070288,0990139305"
PIET = "acc-piet,piet,piet@example.org,NL-070288,0990139313"


def file_of(folder: Path, *lines: str, heading: str = HEADING) -> Path:
    path = folder / "accounts.csv"
    path.write_text("\n".join([heading, *lines]) + "\n", "utf-8")
    return path


def silent(_more: int) -> None:
    """No progress bar."""


async def mistakes(in_memory_identity: InMemoryIdentity, path: Path) -> list[tuple[int, str]]:
    checked = await check_accounts(read_account_file(path), in_memory_identity.deps, silent)
    return [(each.number, each.text) for each in checked.mistakes]


async def imported(in_memory_identity: InMemoryIdentity, path: Path) -> Imported:
    return await import_accounts(read_account_file(path), Context(WISECAT), in_memory_identity.deps, silent)


async def test_all_accounts_are_opened_and_a_second_time_none(tmp_path: Path) -> None:
    in_memory_identity, path = InMemoryIdentity(), file_of(tmp_path, JAN, "", PIET)
    assert await mistakes(in_memory_identity, path) == []
    assert await imported(in_memory_identity, path) == Imported(opened=2, known=0, failed={})
    assert await mistakes(in_memory_identity, path) == []
    assert await imported(in_memory_identity, path) == Imported(opened=0, known=2, failed={})
    assert (await in_memory_identity.account("jan")).home_isil == "NL-070288"


async def test_an_import_that_was_broken_off_is_run_again(tmp_path: Path) -> None:
    in_memory_identity = InMemoryIdentity()
    await imported(in_memory_identity, file_of(tmp_path, JAN))
    assert await imported(in_memory_identity, file_of(tmp_path, JAN, PIET)) == Imported(
        opened=1, known=1, failed={}
    )


async def test_an_account_that_cannot_be_read_keeps_no_other_from_being_imported(tmp_path: Path) -> None:
    in_memory_identity, broken = InMemoryIdentity(), login_account_stream("acc-jan")
    await make_unreadable(in_memory_identity.log, broken)
    done = await imported(in_memory_identity, file_of(tmp_path, JAN, PIET))
    assert done == Imported(opened=1, known=0, failed={broken: "UnreadableEvent"})


async def test_i2_a_username_that_was_taken_meanwhile_keeps_no_other_from_being_imported(
    tmp_path: Path,
) -> None:
    in_memory_identity = InMemoryIdentity()
    other = "acc-other,jan,jan@example.org,NL-070288,1"
    await imported(in_memory_identity, file_of(tmp_path, other))
    done = await imported(in_memory_identity, file_of(tmp_path, JAN, PIET))
    assert done == Imported(opened=1, known=0, failed={login_account_stream("acc-jan"): "UsernameTaken"})


async def test_an_imported_account_is_found_by_its_login_and_its_person(tmp_path: Path) -> None:
    """Without any directory: the card in the file leads to the person's registration (I4.4)."""
    in_memory_identity = InMemoryIdentity()
    details = account_details("jan")
    await imported(
        in_memory_identity,
        file_of(tmp_path, f"acc-jan,jan,jan@example.org,NL-070288,{details.home_card_number}"),
    )
    guest = in_memory_identity.counter.registers("jan", {"choice": "existing", "account_id": "acc-jan"})
    login = await in_memory_identity.logs_in("jan")
    assert login.guest is not None
    assert login.guest.guest_id == guest


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("acc-x,x,x@example.org,NL-070288", "4 columns; there must be 5"),
        (",x,x@example.org,NL-070288,1", "account_id must have 1 to 200 letters"),
        ("..,x,x@example.org,NL-070288,1", "account_id must have 1 to 200 letters"),
        ("a/b,x,x@example.org,NL-070288,1", "account_id must have 1 to 200 letters"),
        ("acc-x,,x@example.org,NL-070288,1", "username"),
        ("acc-x,x,nobody,NL-070288,1", "e-mail"),
        ("acc-x,x,x@example.org,L-070288,1", "ISIL"),
        ("acc-x,x,x@example.org,NL-070288,09|1", "card number"),
        ("acc-x,x,x@example.org,NL-070288,", "card number"),
        (JAN, "account_id is on line 2 already"),
        ("acc-x,JAN,x@example.org,NL-070288,1", "username is on line 2 already"),
    ],
)
async def test_a_mistake_is_reported_by_its_line(tmp_path: Path, line: str, text: str) -> None:
    found = await mistakes(InMemoryIdentity(), file_of(tmp_path, JAN, PIET, line))
    assert [number for number, _ in found] == [4]
    assert text in found[0][1]


async def test_what_is_known_here_already_cannot_be_another(tmp_path: Path) -> None:
    in_memory_identity = InMemoryIdentity()
    await imported(in_memory_identity, file_of(tmp_path, JAN))
    changed = file_of(
        tmp_path,
        "acc-x,jan,x@example.org,NL-070288,1",
        "acc-jan,johan,jan@example.org,NL-070288,0990139305",
    )
    assert await mistakes(in_memory_identity, changed) == [
        (2, "username is taken by another account"),
        (3, "account_id is known with another username"),
    ]


@pytest.mark.parametrize("heading", ["", "account_id,username", JAN])
async def test_the_columns_must_be_named(tmp_path: Path, heading: str) -> None:
    found = await mistakes(InMemoryIdentity(), file_of(tmp_path, JAN, heading=heading))
    assert found == [(1, f"the columns must be {HEADING}")]


async def test_a_file_that_is_not_utf_8_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "accounts.csv"
    path.write_bytes(f"{HEADING}\n{JAN}\nacc-j,j".encode() + b"\xeb,x@example.org,NL-070288,1\n")
    assert ("save the file as UTF-8") in [text for _, text in await mistakes(InMemoryIdentity(), path)]


async def test_a_stray_quote_is_a_mistake(tmp_path: Path) -> None:
    found = await mistakes(InMemoryIdentity(), file_of(tmp_path, 'acc-x,"x"y,x@example.org,NL-070288,1'))
    assert [number for number, _ in found] == [2]


def test_the_file_is_read_line_by_line(tmp_path: Path) -> None:
    path = file_of(tmp_path, JAN, "acc-broken")
    lines = read_account_file(path)
    first, second = next(lines), next(lines)
    assert isinstance(first, AccountLine)
    assert isinstance(second, Mistake)
    assert list(lines) == []
