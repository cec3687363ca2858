"""The tables of docs/home-libraries.md."""

import re
from collections.abc import Iterator
from pathlib import Path

PAGE = (Path(__file__).parents[5] / "docs/home-libraries.md").read_text("utf-8")


def lines_of(first_column: str) -> Iterator[list[str]]:
    """The cells of each line of the tables that begin with this column, without code marks."""
    is_wanted = False
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            is_wanted = False
        elif line.startswith(f"| {first_column} |"):
            is_wanted = True
        elif is_wanted and not line.startswith("|---"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            yield [cell.strip().replace("\\|", "|").strip("`") for cell in cells]
