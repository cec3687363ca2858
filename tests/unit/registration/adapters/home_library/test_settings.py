"""The directory of home libraries: what is right is read, a mistake names its key and what is allowed."""

import re
from pathlib import Path

import pytest

from infra.local.configuration import HOME_LIBRARY_ENVIRONMENT, home_libraries_toml
from registration.adapters.home_library.settings import Library, load_directory, read_directory
from shared.kernel.errors import ConfigurationError

ENVIRONMENT = {"HOME_USER": "gast", "HOME_PASSWORD": "geheim"}
LIBRARY = """
[libraries.NL-070288]
host = "sip.example"
port = 6001
username_env = "HOME_USER"
password_env = "HOME_PASSWORD"
aliases = ["nl-070299"]
"""


def test_a_library_is_read_with_its_credentials_and_aliases() -> None:
    directory = read_directory(LIBRARY, ENVIRONMENT)
    library = directory.libraries["NL-070288"]
    assert (library.host, library.port, library.encoding) == ("sip.example", 6001, "cp850")
    assert directory.credentials["NL-070288"].password == "geheim"
    assert directory.aliases == {"NL-070299": "NL-070288"}


def test_credentials_do_not_show() -> None:
    assert "geheim" not in repr(read_directory(LIBRARY, ENVIRONMENT))


def test_r12_a_library_without_expiry_field_is_one_that_knows_no_end() -> None:
    assert read_directory(LIBRARY, ENVIRONMENT).libraries["NL-070288"].expiry_field is None


@pytest.mark.parametrize(
    ("host", "line", "uses_tls"),
    [
        ("sip.example", "", True),
        ("127.0.0.1", "", False),
        ("localhost", "", False),
        ("::1", "tls = true", True),
        ("sip.example", "tls = false", False),
    ],
)
def test_what_leaves_the_machine_is_encrypted_unless_the_file_says_otherwise(
    host: str, line: str, uses_tls: bool
) -> None:
    text = LIBRARY.replace("sip.example", host) + line
    assert read_directory(text, ENVIRONMENT).libraries["NL-070288"].uses_tls is uses_tls


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("latin-1", "iso-8859-1"),
        ("ISO_8859-1", "iso-8859-1"),
        ("windows-1252", "cp1252"),
        ("UTF8", "utf-8"),
        ("ibm850", "cp850"),
    ],
)
def test_an_encoding_has_many_names(name: str, encoding: str) -> None:
    text = f'{LIBRARY}encoding = "{name}"'
    assert read_directory(text, ENVIRONMENT).libraries["NL-070288"].encoding == encoding


def test_the_local_stack_has_a_directory() -> None:
    directory = read_directory(home_libraries_toml(6001), HOME_LIBRARY_ENVIRONMENT)
    assert {"NL-070288", "NL-070277", "NL-083424", "NL-999999"} == directory.libraries.keys()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("colour = 1", "libraries.NL-070288.colour: no such key; allowed are active_statuses, aliases"),
        ("port = 0", "libraries.NL-070288.port: Input should be greater than or equal to 1"),
        ('port = "x"', "libraries.NL-070288.port: Input should be a valid integer"),
        (
            'encoding = "utf-16"',
            "libraries.NL-070288.encoding: must be one of cp850, cp437, cp858, utf-8, iso",
        ),
        ('encoding = "shift_jis"', "libraries.NL-070288.encoding: must be one of cp850"),
        ('encoding = "latijn"', "libraries.NL-070288.encoding: must be one of cp850"),
        ('no_end = ["-"]', "libraries.NL-070288.no_end: each text must hold a letter or a digit"),
        ('expiry_field = "pa"', "libraries.NL-070288.expiry_field: String should match pattern"),
        ('protocol = "z39"', "libraries.NL-070288.protocol: Input should be 'sip2', 'ncip' or 'koha'"),
        ('host = "sip..example"', "libraries.NL-070288.host: must be a host name or an address"),
        ('location = "€"', "libraries.NL-070288: location and institution must be text that cp850 can write"),
        ("answer_seconds = 0", "libraries.NL-070288.answer_seconds: Input should be greater than 0"),
        ('institution = "a|b"', "libraries.NL-070288.institution: must not hold | or control characters"),
        ('guest_patron_types = ["G"]', "libraries.NL-070288: guest_patron_types needs patron_type_field"),
        ('aliases = ["NL-1"]', "libraries.NL-070288.aliases.0: must be an ISIL, NL- and six digits"),
        ('tls = "yes"', "libraries.NL-070288.tls: Input should be a valid boolean"),
        ('tls_ca_file = "/nowhere/ca.pem"', "tls_ca_file: /nowhere/ca.pem: No such file or directory"),
        (
            'tls_ca_file = "/dev/null"',
            "libraries.NL-070288.tls_ca_file: /dev/null: no certificate in PEM form",
        ),
        ("tls_verify = false", "tls_verify: may be false only for a host on this machine; set tls_ca_file"),
        ('tls = false\ntls_server_name = "a"', "tls_server_name: has no effect without TLS; add tls = true"),
        (
            'date_format = "DD-MM-YY"',
            "libraries.NL-070288.date_format: must be YYYY, MM and DD, once each",
        ),
        (
            'date_format = "DD-DD-YYYY"',
            "libraries.NL-070288.date_format: must be YYYY, MM and DD, once each",
        ),
        (
            'refusing_flags = ["lost"]',
            "must be names or positions of status flags: charge-denied (0), renewal",
        ),
        ("refusing_flags = [14]", "libraries.NL-070288.refusing_flags: must be names or positions"),
        ("refusing_flags = [2]", "libraries.NL-070288.refusing_flags: must be names or positions"),
        (
            "requests_per_second = 0",
            "libraries.NL-070288.requests_per_second: Input should be greater than 0",
        ),
        ("connections = 65", "libraries.NL-070288.connections: Input should be less than or equal to 64"),
        ('username_env = "NOWHERE"', "username_env: the environment variable NOWHERE is not set"),
    ],
)
def test_a_mistake_names_the_key_and_what_is_allowed(line: str, message: str) -> None:
    key = line.split(" =", maxsplit=1)[0]
    kept = "\n".join(known for known in LIBRARY.splitlines() if not known.startswith(f"{key} ="))
    with pytest.raises(ConfigurationError) as mistake:
        read_directory(f"{kept}\n{line}\n", ENVIRONMENT)
    assert message in str(mistake.value)


NCIP = """
[libraries.NL-070288]
protocol = "ncip"
host = "ncip.example"
port = 443
path = "/ncip"
from_agency = "NL-070297"
to_agency = "NL-070288"
"""
KOHA = """
[libraries.NL-070288]
protocol = "koha"
host = "koha.example"
port = 8443
username_env = "HOME_USER"
password_env = "HOME_PASSWORD"
"""


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (NCIP, "https://ncip.example:443/ncip"),
        (NCIP.replace('path = "/ncip"', "tls = false"), "http://ncip.example:443"),
        (KOHA, "https://koha.example:8443/api/v1"),
        (KOHA.replace("koha.example", "::1") + 'path = "/koha/api/v1/"', "http://[::1]:8443/koha/api/v1"),
    ],
)
def test_a_library_over_http_has_an_address(text: str, url: str) -> None:
    assert read_directory(text, ENVIRONMENT).libraries["NL-070288"].url == url


def test_credentials_of_other_protocols_are_not_bound_by_an_encoding_of_sip2() -> None:
    directory = read_directory(KOHA, ENVIRONMENT | {"HOME_PASSWORD": "€|"})
    assert directory.credentials["NL-070288"].password == "€|"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            LIBRARY,
            'path = "/x"',
            "path: has no effect with protocol sip2; it is for koha and ncip",
        ),
        (
            LIBRARY,
            'ask_by = "barcode"',
            "ask_by: has no effect with protocol sip2; it is for ncip",
        ),
        (
            NCIP,
            "checksums = true",
            "checksums: has no effect with protocol ncip; it is for sip2",
        ),
        (
            NCIP,
            'query_in = "url"',
            "query_in: has no effect with protocol ncip; it is for koha",
        ),
        (NCIP, 'ask_by = "name"', "ask_by: Input should be 'user-id' or 'barcode'"),
        (NCIP, 'transport = "udp"', "transport: Input should be 'http' or 'tcp'"),
        (NCIP, 'transport = "tcp"', "path: has no effect with transport tcp"),
        (NCIP, "questions_per_connection = 1", "questions_per_connection: has no effect with transport http"),
        (
            NCIP.replace('path = "/ncip"', 'transport = "tcp"'),
            'credentials_in = "http"',
            "credentials_in: there",
        ),
        (NCIP, 'from_agency = "a b"', "from_agency: String should match pattern"),
        (
            NCIP.replace('to_agency = "NL-070288"', ""),
            "",
            "protocol: ncip needs from_agency and to_agency",
        ),
        (NCIP, 'path = "ncip"', "path: String should match pattern"),
        (NCIP, 'path = "/a?b"', "path: String should match pattern"),
        (
            NCIP,
            'membership_privileges = ["-"]',
            "membership_privileges: each text must hold",
        ),
        (NCIP, 'own_ids = "yes"', "own_ids: Input should be a valid boolean"),
        (
            KOHA,
            'transport = "tcp"',
            "transport: has no effect with protocol koha; it is for ncip",
        ),
        (
            KOHA,
            'encoding = "utf-8"',
            "encoding: has no effect with protocol koha; it is for ncip and sip2",
        ),
        (
            KOHA,
            'harmless_blocks = ["fines"]',
            "harmless_blocks: fines is no block of Koha; allowed",
        ),
        (KOHA, 'query_in = "body"', "query_in: Input should be 'header' or 'url'"),
        (
            KOHA.replace('username_env = "HOME_USER"\npassword_env = "HOME_PASSWORD"', ""),
            "",
            "protocol: koha needs",
        ),
    ],
)
def test_a_mistake_in_another_protocol_names_the_key(text: str, line: str, message: str) -> None:
    key = line.split(" =", maxsplit=1)[0]
    kept = "\n".join(known for known in text.splitlines() if not line or not known.startswith(f"{key} ="))
    with pytest.raises(ConfigurationError) as mistake:
        read_directory(f"{kept}\n{line}\n", ENVIRONMENT)
    assert f"libraries.NL-070288.{message}" in str(mistake.value)


def test_the_examples_of_the_guide_are_valid() -> None:
    guide = (Path(__file__).parents[5] / "docs/connect-a-home-library.md").read_text("utf-8")
    table = guide.partition("```toml\n")[2].partition("```")[0]
    variables = re.findall(r'_env = "(\w+)"', table)
    assert len(read_directory(table, dict.fromkeys(variables, "x")).libraries) == 3


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[5] / "docs/contract.md").read_text("utf-8")
    table = page.partition("### The file of home libraries")[2].partition("\n### ")[0]
    assert [key for key in Library.model_fields if f"`{key}`" not in table] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "libraries: is not set: add this key"),
        ("[libraries\n", "at line 1"),
        ("[libraries.L-070288]\nhost='a'\nport=1", "libraries.L-070288: must be an ISIL"),
        ("[libraries.NL-070288]\nport=1", "libraries.NL-070288.host: is not set: add this key"),
        (
            "[libraries.NL-070288]\nhost='a'\nport=1\nusername_env='A'",
            "set both username_env and password_env",
        ),
        (LIBRARY + "[libraries.NL-070299]\nhost='a'\nport=1", "NL-070299 is itself a library"),
        (LIBRARY + "[libraries.NL-0702880001]\nhost='a'\nport=1", "two tables are about one library"),
        (LIBRARY + "[libraries.NL-1]\nhost='a'\nport=1", "libraries.NL-1: must be an ISIL"),
        (
            LIBRARY + "[libraries.NL-000001]\nhost='a'\nport=1\naliases=['NL-070299']",
            "libraries.NL-000001.aliases: NL-070299 is already an alias of NL-070288",
        ),
    ],
)
def test_a_mistake_in_the_whole_is_reported(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as mistake:
        read_directory(text, ENVIRONMENT)
    assert message in str(mistake.value)


def test_a_credential_that_could_break_a_message_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="HOME_USER must not hold"):
        read_directory(LIBRARY, ENVIRONMENT | {"HOME_USER": "a|COb"})


def test_a_credential_that_the_encoding_cannot_write_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="HOME_PASSWORD must be text that cp850 can write"):
        read_directory(LIBRARY, ENVIRONMENT | {"HOME_PASSWORD": "€"})


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"libraries\.toml: No such file"):
        load_directory(tmp_path / "libraries.toml", {})
