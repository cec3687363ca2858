"""The ledger of erasures: what is written there stays, whatever happens in the middle of a line (R19)."""

import asyncio
import os
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest

from shared.event_log import ErasureLedger, InMemoryEventLog, brought_back, erase_again, erasure_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "not yet there" / "ledger.jsonl"


async def test_r19_subjects_are_read_once_each_in_their_order(path: Path) -> None:
    first, second = uuid4(), uuid4()
    ledger = ErasureLedger(path)
    assert await ledger.subjects() == []
    for subject in (first, second, first):
        await ledger.note([subject])
    assert await ErasureLedger(path).subjects() == [first, second]


def test_r19_a_line_says_who_and_when_to_its_owner_only(path: Path) -> None:
    asyncio.run(ErasureLedger(path).note([uuid4(), uuid4()]))
    first, second = path.read_bytes().splitlines()
    assert set(orjson.loads(first)) == set(orjson.loads(second)) == {"subject_id", "erased_at"}
    assert path.stat().st_mode & 0o777 == 0o600


async def test_r19_several_may_write_at_once(path: Path) -> None:
    subjects = [uuid4() for _ in range(40)]
    await asyncio.gather(*(ErasureLedger(path).note([subject]) for subject in subjects))
    assert set(await ErasureLedger(path).subjects()) == set(subjects)


@pytest.mark.parametrize("torn", [b'{"subject_id":"0b7c', b"{}\n", b"[]\n", b"3\n", b"\xff\n"])
async def test_r19_a_torn_line_spoils_no_other(path: Path, torn: bytes) -> None:
    first, second = uuid4(), uuid4()
    ledger = ErasureLedger(path)
    await ledger.note([first])
    with path.open("ab") as file:
        file.write(torn)
    await ledger.note([second])
    assert await ledger.subjects() == [first, second]


async def test_r19_a_ledger_that_cannot_be_written_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        await ErasureLedger(tmp_path / "file" / "ledger.jsonl").note([uuid4()])


async def test_r19_without_a_ledger_nothing_is_written_and_nobody_comes_back() -> None:
    await ErasureLedger().note([uuid4()])
    assert await brought_back(InMemoryEventLog(), ErasureLedger()) == []


async def test_r19_only_subjects_that_the_log_does_not_know_as_erased_were_brought_back(path: Path) -> None:
    log, ledger = InMemoryEventLog(), ErasureLedger(path)
    known = uuid4()
    many = [UUID(int=number) for number in range(1200)]
    await log.append([], [erasure_row(known)])
    await ledger.note([known, *many])
    assert await brought_back(log, ledger) == many
    await log.append([], [erasure_row(subject) for subject in many])
    assert await brought_back(log, ledger) == []


async def test_r19_an_erasure_whose_process_died_before_it_was_noted_is_noted_later(path: Path) -> None:
    log, ledger = InMemoryEventLog(), ErasureLedger(path)
    noted, not_noted = uuid4(), uuid4()
    await log.append([], [erasure_row(noted), erasure_row(not_noted)])
    await ledger.note([noted])
    assert await brought_back(log, ledger) == []
    assert await ledger.subjects() == [noted, not_noted]
    before = path.stat().st_size  # noqa: ASYNC240
    assert await brought_back(log, ledger) == []
    assert path.stat().st_size == before  # noqa: ASYNC240


async def test_r19_a_disk_that_takes_half_a_line_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = uuid4(), uuid4()
    ledger, write = ErasureLedger(path), os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:20]))
        with pytest.raises(OSError, match="in part"):
            await ledger.note([first])
    await ledger.note([first, second])
    assert await ledger.subjects() == [first, second]


async def test_r19_a_subject_that_fails_is_named_and_all_others_are_erased_again(tmp_path: Path) -> None:
    ledger, log = ErasureLedger(tmp_path / "ledger.jsonl"), InMemoryEventLog()
    first, broken, last = uuid4(), uuid4(), uuid4()
    await ledger.note([first, broken, last])

    async def erase(subject_id: UUID) -> None:
        if subject_id == broken:
            raise KeyError("what nobody thought of")
        await log.append([], [erasure_row(subject_id)])

    done = await erase_again(log, ledger, erase)
    assert (done.erased, done.failed) == (2, {broken: "KeyError"})
    assert await log.erasures() == [first, last]

    async def without_a_disk(_subject_id: UUID) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        await erase_again(log, ledger, without_a_disk)
