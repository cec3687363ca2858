"""The file of home libraries: TOML, read and validated (ADR 0016)."""

import codecs
import ipaddress
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from registration.adapters.home_library.sip2.framing import is_safe, is_writable, known_codes
from registration.adapters.home_library.sip2.messages import (
    STANDARD,
    USUALLY_REFUSING,
    ReadDate,
    date_reader,
    is_date_format,
    plain_words,
    positions,
)
from registration.adapters.home_library.words import (
    ACTIVE_STATUSES,
    BETWEEN,
    ERROR_MESSAGES,
    HARMLESS_BLOCKS,
    INACTIVE_STATUSES,
    KOHA_BLOCKS,
    NO_END,
    NOT_KNOWN,
    UNKNOWN_NAMES,
    WHO_IS_NOT_KNOWN,
)
from shared.kernel.library_card import Isil, MalformedIsil
from shared.kernel.text import tidy
from shared.kernel.toml_file import Mistake, Mistakes, TomlFile


def is_loopback(host: str) -> bool:
    """Return whether data for this host stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context(ca_file: Path | None, *, verify: bool) -> ssl.SSLContext:
    """Return the TLS settings of a connection. Without `ca_file` the machine's own authorities are trusted.

    Raises OSError when `ca_file` cannot be used.
    """
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


Seconds = Annotated[float, Field(gt=0, le=60)]


def _known_isil(text: str) -> str:
    try:
        return Isil.parse(text).base
    except MalformedIsil:
        raise ValueError("must be an ISIL, NL- and six digits") from None


def _safe(text: str) -> str:
    if not is_safe(text):
        raise ValueError("must not hold | or control characters")
    return text


def _host_name(text: str) -> str:
    try:
        text.encode("idna")
    except UnicodeError:
        raise ValueError("must be a host name or an address") from None
    return text


def _date_format(text: str) -> str:
    if not is_date_format(text):
        raise ValueError(
            "must be YYYY, MM and DD, once each, with - / . or a space between them, or no separator"
        )
    return text


ENCODINGS = {
    "cp850": "cp850",
    "cp437": "cp437",
    "cp858": "cp858",
    "utf-8": "utf-8",
    "iso8859-1": "iso-8859-1",
    "iso8859-15": "iso-8859-15",
    "cp1252": "cp1252",
    "cp1250": "cp1250",
    "iso8859-2": "iso-8859-2",
    "ascii": "ascii",
}
"""By the names that Python has for them. In all of them the separator and the codes are one byte each."""


def _encoding(text: str) -> str:
    try:
        return ENCODINGS[codecs.lookup(text.strip(" ")).name]
    except (LookupError, ValueError):
        raise ValueError(f"must be one of {', '.join(ENCODINGS.values())}") from None


def _all_in_plain_words(texts: frozenset[str]) -> frozenset[str]:
    found = frozenset(map(plain_words, texts))
    if "" in found:
        raise ValueError("each text must hold a letter or a digit")
    return found


Encoding = Annotated[str, AfterValidator(_encoding)]
Words = Annotated[frozenset[StrictStr], AfterValidator(_all_in_plain_words)]
UrlPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$", max_length=200)]
AgencyId = Annotated[str, Field(pattern=r"^[!-~]{1,100}$")]
SafeText = Annotated[str, AfterValidator(_safe)]
HostName = Annotated[str, Field(min_length=1), AfterValidator(_safe), AfterValidator(_host_name)]
IsilBase = Annotated[str, AfterValidator(_known_isil)]
DateFormat = Annotated[str, AfterValidator(_date_format)]
Flags = Annotated[frozenset[StrictInt | StrictStr], AfterValidator(positions)]
FieldCode = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]$")]


Protocol = Literal["sip2", "ncip", "koha"]
_KEYS: Mapping[tuple[Protocol, ...], str] = {
    ("sip2",): "location institution checksums expiry_field error_messages birth_date_field"
    " patron_type_field refusing_flags",
    ("ncip",): "transport from_agency to_agency ask_by credentials_in own_ids privileges_required"
    " membership_privileges active_statuses inactive_statuses",
    ("koha",): "query_in",
    ("koha", "ncip"): "path harmless_blocks",
    ("ncip", "sip2"): "encoding date_format questions_per_connection",
}
_FOR = {key: protocols for protocols, keys in _KEYS.items() for key in keys.split()}
"""The keys that only some protocols know."""
_ISO_DATE = "YYYY-MM-DD"
_PATHS = {"ncip": "/", "koha": "/api/v1"}


class Library(BaseModel):
    """The settings of one home library. Time-outs are in seconds.

    A connection that was idle for `idle_seconds` is not used again, because a firewall may have dropped it
    silently. `questions_per_connection`: after so many a connection is closed. The login does not count, and
    the status is not asked for then, because that might. None here and for `requests_per_second`: no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(tidy)] = ""
    protocol: Protocol = "sip2"
    host: HostName
    port: int = Field(ge=1, le=65535)
    tls: StrictBool | None = None
    tls_ca_file: Path | None = None
    tls_server_name: HostName | None = None
    tls_verify: StrictBool = True
    username_env: str | None = None
    password_env: str | None = None
    location: SafeText = ""
    institution: SafeText = ""
    encoding: Encoding = "cp850"
    checksums: bool = True
    expiry_field: FieldCode | None = None
    date_format: DateFormat = STANDARD
    no_end: Words = NO_END
    unknown_names: Words = UNKNOWN_NAMES
    error_messages: Words = ERROR_MESSAGES
    birth_date_field: FieldCode | None = None
    patron_type_field: FieldCode | None = None
    guest_patron_types: frozenset[str] = frozenset()
    refusing_flags: Flags = USUALLY_REFUSING
    path: UrlPath = ""
    transport: Literal["http", "tcp"] = "http"
    from_agency: AgencyId | None = None
    to_agency: AgencyId | None = None
    ask_by: Literal["user-id", "barcode"] = "user-id"
    credentials_in: Literal["http", "message"] = "message"
    own_ids: StrictBool = False
    privileges_required: StrictBool = True
    membership_privileges: Words = frozenset()
    active_statuses: Words = ACTIVE_STATUSES
    inactive_statuses: Words = INACTIVE_STATUSES
    harmless_blocks: Words = HARMLESS_BLOCKS
    query_in: Literal["header", "url"] = "header"
    connections: int = Field(default=4, ge=1, le=64)
    questions_per_connection: int | None = Field(default=None, ge=1, le=1000)
    requests_per_second: float | None = Field(default=None, gt=0, le=10_000)
    idle_seconds: float = Field(default=60.0, gt=0, le=3600)
    connect_seconds: Seconds = 3.0
    answer_seconds: Seconds = 5.0
    aliases: frozenset[IsilBase] = frozenset()

    @property
    def uses_tls(self) -> bool:
        """Whether connections use TLS: as `tls` says; if unset, unless the host is this machine."""
        return not is_loopback(self.host) if self.tls is None else self.tls

    @cached_property
    def refusing(self) -> frozenset[int]:
        """The positions of the status flags that refuse (R4)."""
        return positions(self.refusing_flags)

    @cached_property
    def days_without_end(self) -> frozenset[date]:
        """The days of `no_end`, in whatever form the library writes its dates."""
        read = date_reader("YYYY MM DD")
        return frozenset(day for text in self.no_end if (day := read(text)))

    @cached_property
    def first_words_of_unknown_names(self) -> frozenset[str]:
        """With which words a text that names nobody may begin."""
        of_its_own = frozenset(text.partition(" ")[0] for text in self.unknown_names)
        return of_its_own | NOT_KNOWN | WHO_IS_NOT_KNOWN | BETWEEN

    @cached_property
    def read_date(self) -> ReadDate:
        """Reads a date in the form of `date_format`; if unset, in the usual form of the protocol."""
        is_set = self.protocol == "sip2" or "date_format" in self.model_fields_set
        return date_reader(self.date_format if is_set else _ISO_DATE)

    @property
    def xml_encoding(self) -> str | None:
        """In which encoding XML is read, whatever it says itself; None: as it says."""
        return self.encoding if "encoding" in self.model_fields_set else None

    def wrong_secret(self, variable: str, value: str) -> str:
        """Return why a message of the protocol cannot hold this username or password, or an empty text."""
        if self.protocol != "sip2":
            return "" if value.isprintable() else f"{variable} must not hold control characters"
        if not is_safe(value):
            return f"{variable} must not hold | or control characters"
        if not is_writable(value, self.encoding):
            return f"{variable} must be text that {self.encoding} can write"
        return ""

    @property
    def described(self) -> str:
        """The protocol, and what carries it or how it is encoded."""
        parts = {"sip2": self.encoding, "ncip": f"2.02 over {self.transport}", "koha": "REST"}
        return f"{self.protocol}{',' if self.protocol == 'sip2' else ''} {parts[self.protocol]}"

    @property
    def url(self) -> str:
        """The address that is asked over HTTP, without a separator at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        path = self.path or _PATHS.get(self.protocol, "")
        return f"{'https' if self.uses_tls else 'http'}://{host}:{self.port}{path}".rstrip("/")

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """The codes of fields in its replies, each with the most characters of a value."""
        return known_codes(self.expiry_field, self.birth_date_field, self.patron_type_field)

    @cached_property
    def deciding_codes(self) -> frozenset[str]:
        """The codes of fields that are read strictly (R23)."""
        return frozenset({"AA", "BL", self.expiry_field or "BL"})

    @model_validator(mode="after")
    def _protects(self) -> Self:
        if not self.tls_verify and not is_loopback(self.host):
            raise ValueError(
                "tls_verify: may be false only for a host on this machine; set tls_ca_file instead"
            )
        settings = {"tls_ca_file", "tls_server_name", "tls_verify"} & self.model_fields_set
        if settings and not self.uses_tls:
            raise ValueError(f"{min(settings)}: has no effect without TLS; add tls = true")
        return self

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.username_env is None) != (self.password_env is None):
            raise ValueError("set both username_env and password_env, or neither")
        if self.protocol == "sip2" and self.guest_patron_types and self.patron_type_field is None:
            raise ValueError("guest_patron_types needs patron_type_field: the field that holds the type")
        if not is_writable(self.location + self.institution, self.encoding):
            raise ValueError(f"location and institution must be text that {self.encoding} can write")
        return self

    @model_validator(mode="after")
    def _suits_its_protocol(self) -> Self:
        for key, text in self._wrong_for_its_protocol():
            raise _mistake_at(key, text)
        return self

    def _wrong_for_its_protocol(self) -> Iterator[tuple[str, str]]:
        """Yield keys and what is wrong with them. What belongs to the whole table is at `protocol`."""
        for key in sorted(self.model_fields_set):
            if self.protocol not in _FOR.get(key, (self.protocol,)):
                known = " and ".join(_FOR[key])
                yield key, f"has no effect with protocol {self.protocol}; it is for {known}"
        if self.protocol == "ncip" and not (self.from_agency and self.to_agency):
            yield "protocol", "ncip needs from_agency and to_agency: who asks, and who is asked"
        if self.protocol == "koha" and self.username_env is None:
            yield "protocol", "koha needs username_env and password_env: client id and secret"
        unknown = self.harmless_blocks - KOHA_BLOCKS.keys()
        if self.protocol == "koha" and unknown and "harmless_blocks" in self.model_fields_set:
            allowed = ", ".join(KOHA_BLOCKS.values())
            yield "harmless_blocks", f"{min(unknown)} is no block of Koha; allowed are {allowed}"
        over_tcp = {"path"} if self.transport == "tcp" else {"questions_per_connection"}
        if self.protocol == "ncip" and (wrong := over_tcp & self.model_fields_set):
            yield min(wrong), f"has no effect with transport {self.transport}"
        if self.transport == "tcp" and self.credentials_in == "http":
            yield "credentials_in", "there is no HTTP with transport tcp"


def _mistake_at(key: str, text: str) -> ValidationError:
    """Return a mistake that names a key of the table, so that its line is found."""
    fault = PydanticCustomError("value_error", "{text}", {"text": text})
    return ValidationError.from_exception_data(
        "Library", [InitErrorDetails(type=fault, loc=(key,), input=None)]
    )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    libraries: dict[IsilBase, Library]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Username and password for a library. `repr` hides them, so that no log shows them."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(***)"


@dataclass(frozen=True, slots=True)
class Directory:
    """All home libraries by ISIL base; `aliases` maps the base of a merged library to the surviving one."""

    libraries: Mapping[str, Library]
    credentials: Mapping[str, Credentials]
    aliases: Mapping[str, str]


def load_directory(path: Path, environment: Mapping[str, str]) -> Directory:
    """Read the file, and the credentials from `environment`. Raises Mistakes."""
    try:
        return directory_of(TomlFile.read(path), environment)
    except OSError as error:
        raise Mistakes([Mistake("", f"{error.strerror}", path)]) from None


def read_directory(text: str, environment: Mapping[str, str]) -> Directory:
    """Read the text of such a file. Raises Mistakes."""
    return directory_of(TomlFile(text), environment)


def directory_of(file: TomlFile, environment: Mapping[str, str]) -> Directory:
    """Return what a file holds. Raises Mistakes with all that is wrong in it."""
    libraries = _read_libraries(file)
    mistakes: list[Mistake] = []
    credentials = {}
    for isil, library in libraries.items():
        for key, text in _wrong_outside(library, environment):
            mistakes.append(file.mistake(("libraries", _key_of(file, isil), key), text))
        if library.username_env is not None and library.password_env is not None:
            credentials[isil] = Credentials(
                environment.get(library.username_env, ""), environment.get(library.password_env, "")
            )
    aliases, wrong_aliases = _aliases(libraries)
    for isil, text in wrong_aliases:
        mistakes.append(file.mistake(("libraries", _key_of(file, isil), "aliases"), text))
    if mistakes:
        raise Mistakes(mistakes)
    return Directory(libraries, credentials, aliases)


def _key_of(file: TomlFile, isil: str) -> str:
    """Return how the file writes the ISIL of a table."""
    return next((key for key in file.tables["libraries"] if _known_isil(key) == isil), isil)


def _read_libraries(file: TomlFile) -> Mapping[str, Library]:
    try:
        libraries = _File.model_validate(file.tables).libraries
    except ValidationError as error:
        raise Mistakes(file.mistakes_of(error, {1: _File, 3: Library})) from None
    if len(libraries) < len(file.tables["libraries"]):
        raise Mistakes([file.mistake(*wrong) for wrong in _twice(file.tables["libraries"])])
    return libraries


def _twice(keys: Iterable[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    seen: set[str] = set()
    for key in keys:
        if (isil := _known_isil(key)) in seen:
            text = "two tables are about one library: only the first six digits of an ISIL count"
            yield ("libraries", key), text
        seen.add(isil)


def _wrong_outside(library: Library, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with what a library needs beside the file: key, and what to do.

    It is checked now, not at the first question.
    """
    if library.tls_ca_file is not None:
        try:
            tls_context(library.tls_ca_file, verify=True)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            cause = error.strerror if missing else "no certificate in PEM form"
            yield "tls_ca_file", f"{library.tls_ca_file}: {cause}"
    for key in ("username_env", "password_env"):
        variable = getattr(library, key)
        if variable is not None and (wrong := _wrong_secret(library, variable, environment)):
            yield key, wrong


def _wrong_secret(library: Library, variable: str, environment: Mapping[str, str]) -> str:
    value = environment.get(variable)
    if not value:
        return f"the environment variable {variable} is not set"
    return library.wrong_secret(variable, value) or ""


def _aliases(libraries: Mapping[str, Library]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the alias table, and what is wrong with it: the ISIL of the library, and why."""
    aliases: dict[str, str] = {}
    wrong = []
    for isil, library in libraries.items():
        for alias in sorted(library.aliases):
            if alias in libraries:
                wrong.append((isil, f"{alias} is itself a library in this file"))
            elif aliases.setdefault(alias, isil) != isil:
                wrong.append((isil, f"{alias} is already an alias of {aliases[alias]}"))
    return aliases, wrong
