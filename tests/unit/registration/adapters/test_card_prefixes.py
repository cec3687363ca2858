"""R2: the file of card prefixes is right as a whole, or its first mistake is reported by line."""

from pathlib import Path

import pytest

from registration.adapters.card_prefixes import packaged_prefixes, read_prefix_file, read_prefixes
from shared.kernel.errors import ConfigurationError

HEADER = "organisation_code,organisation,isil,updated_on,card_prefixes\n"
GOOD = "F,Bibliotheekservice Fryslân,NL-083424,2025-06-19,1901 8447\n"


def test_r2_the_packaged_table_is_what_is_legible_in_the_seed() -> None:
    prefixes = {str(library.isil): library.prefixes for library in packaged_prefixes()}
    assert "8447" in prefixes["NL-083424"]
    assert "6450" in prefixes["NL-070297"]
    assert "4508" in prefixes["NL-083390"]
    assert len(prefixes) == 19


def test_r2_a_line_is_a_library_with_its_prefixes() -> None:
    (library,) = read_prefixes(HEADER + GOOD)
    assert (str(library.isil), library.organisation_code, library.prefixes) == (
        "NL-083424",
        "F",
        ("1901", "8447"),
    )


def test_r2_a_file_may_name_the_places_of_libraries() -> None:
    (library,) = read_prefixes(HEADER.replace("\n", ",place\n") + GOOD.replace("\n", ",Sneek\n"))
    assert (library.place, library.prefixes) == ("Sneek", ("1901", "8447"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns must be organisation_code,"),
        ("isil,prefix\n" + GOOD, "line 1: the columns must be"),
        (HEADER, "line 2: the file holds no library"),
        (HEADER + GOOD + "F,Fryslân,NL-083425,2025-06-19\n", "line 3: 4 columns; there must be 5"),
        (HEADER + GOOD + "\nF,Fryslân,L-070288,2025-06-19,1234\n", "line 4: 'L-070288' is not an ISIL"),
        (HEADER + "F,Fryslân,NL-083424,19-06-2025,1234\n", "line 2: updated_on '19-06-2025' is not a date"),
        (HEADER + "F,Fryslân,NL-083424,2025-06-19,\n", "line 2: card_prefixes must not be empty"),
        (
            HEADER + "F,Fryslân,NL-083424,2025-06-19,BT02\n",
            "line 2: 'BT02' is not a card prefix: four digits",
        ),
        (HEADER + "F,Fryslân,NL-083424,2025-06-19,12345\n", "line 2: '12345' is not a card prefix"),
        (HEADER + "F,Fryslân,NL-083424,2025-06-19,1234 1234\n", "line 2: 1234 is listed twice"),
        (HEADER + ",Fryslân,NL-083424,2025-06-19,1234\n", "line 2: organisation_code and organisation"),
        (HEADER + GOOD + GOOD, "line 3: NL-083424 is already on line 2"),
        (HEADER + 'F,"Frys"lân,NL-083424,2025-06-19,1234\n', "line 2"),
    ],
)
def test_r2_a_mistake_is_reported_by_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as mistake:
        read_prefixes(text)
    assert message in str(mistake.value)


def test_r2_a_file_that_is_not_utf8_is_reported_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "prefixes.csv"
    file.write_bytes((HEADER + GOOD).encode("latin-1"))
    with pytest.raises(ConfigurationError, match="line 2: save the file as UTF-8"):
        read_prefix_file(file)


def test_r2_a_file_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    file = tmp_path / "prefixes.csv"
    file.write_bytes((HEADER + GOOD).replace("\n", "\r\n").encode("utf-8-sig"))
    assert len(read_prefix_file(file)) == 1
