"""A CSV file of login accounts, read line by line: it may be larger than memory.

account_id,username,email,home_isil,home_card_number
acc-jan,jan.jansen,jan.jansen@example.org,NL-070288,0990139305
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from identity.application.import_accounts import AccountLine, Mistake
from identity.application.open_login_account import OpenLoginAccount
from shared.kernel.errors import RuleBroken, english_sentence

COLUMNS = ("account_id", "username", "email", "home_isil", "home_card_number")
_LONGEST = 200


def read_account_file(path: Path) -> Iterator[AccountLine | Mistake]:
    """Every line as an account, or what is wrong with it. UTF-8; blank lines do not count. Raises OSError."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        heading: tuple[str, ...] | None = None
        try:
            for row in reader:
                if not any(cell.strip(" ") for cell in row):
                    continue
                if heading is not None:
                    yield _line(reader.line_num, row)
                    continue
                heading = tuple(cell.strip(" ") for cell in row)
                if heading != COLUMNS:
                    break
        except csv.Error as error:
            yield Mistake(reader.line_num, str(error))
        except UnicodeDecodeError:
            yield Mistake(reader.line_num + 1, "save the file as UTF-8")
    if heading != COLUMNS:
        yield Mistake(1, f"the columns must be {','.join(COLUMNS)}")


def _line(number: int, row: Sequence[str]) -> AccountLine | Mistake:
    if len(row) != len(COLUMNS):
        return Mistake(number, f"{len(row)} columns; there must be {len(COLUMNS)}")
    account_id, username, email, home_isil, home_card_number = (cell.strip(" ") for cell in row)
    if not 0 < len(account_id) <= _LONGEST or not account_id.isprintable():
        return Mistake(number, f"account_id must have 1 to {_LONGEST} characters")
    if "@" not in email or not email.isprintable():
        return Mistake(number, "email is no e-mail address")
    try:
        asked = OpenLoginAccount(account_id, username, email, home_isil, home_card_number)
        return AccountLine(number, asked.details())
    except RuleBroken as error:
        return Mistake(number, english_sentence(type(error)))
