"""Read a CSV file of login accounts line by line: the file may be larger than memory.

account_id,username,email,home_isil,home_card_number
acc-jan,jan.jansen,jan.jansen@example.org,NL-070288,0990139305
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from identity.application.import_accounts import AccountLine, Mistake
from identity.application.open_login_account import OpenLoginAccount
from shared.kernel.errors import RuleBroken, english_sentence
from shared.kernel.login_account import is_account_id
from shared.kernel.text import is_identifier

COLUMNS = ("account_id", "username", "email", "home_isil", "home_card_number")
_LONGEST_LINE = 10_000


def read_account_file(path: Path) -> Iterator[AccountLine | Mistake]:
    """Read each line as an account or as a mistake.

    The file is UTF-8. Blank lines are skipped. Raises OSError.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_lines(file), strict=True)
        header: tuple[str, ...] | None = None
        try:
            for row in reader:
                if not any(cell.strip(" ") for cell in row):
                    continue
                if header is not None:
                    yield _line(reader.line_num, row)
                    continue
                header = tuple(cell.strip(" ") for cell in row)
                if header != COLUMNS:
                    break
        except csv.Error as error:
            yield Mistake(reader.line_num, str(error))
        except UnicodeDecodeError:
            yield Mistake(reader.line_num + 1, "save the file as UTF-8")
    if header != COLUMNS:
        yield Mistake(1, f"the columns must be {','.join(COLUMNS)}")


def _lines(file: TextIO) -> Iterator[str]:
    """Yield the lines. Raises csv.Error for one that is too long: it may be as long as the file."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            raise csv.Error(f"the line has more than {_LONGEST_LINE} characters")
        yield line


def _line(number: int, row: Sequence[str]) -> AccountLine | Mistake:
    if len(row) != len(COLUMNS):
        return Mistake(number, f"{len(row)} columns; there must be {len(COLUMNS)}")
    account_id, username, email, home_isil, home_card_number = (cell.strip(" ") for cell in row)
    if not is_account_id(account_id):
        return Mistake(number, "account_id must have 1 to 200 letters, digits and !$&'()*+,-.:;=@_|~")
    if "@" not in email or not is_identifier(email):
        return Mistake(number, "email is not an e-mail address")
    try:
        command = OpenLoginAccount(account_id, username, email, home_isil, home_card_number)
        return AccountLine(number, command.details())
    except RuleBroken as error:
        return Mistake(number, english_sentence(type(error)))
