"""How one home library is reached: a table of the TOML file."""

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
    model_validator,
)

from registration.adapters.home_library.sip2 import is_safe, is_writable
from registration.adapters.home_library.sip2_dates import STANDARD, is_date_format
from registration.adapters.home_library.status_flags import USUALLY_REFUSING, positions
from registration.adapters.home_library.tls import is_loopback
from registration.domain.errors import MalformedIsil
from registration.domain.isil import Isil

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
        raise ValueError("must be YYYY, MM and DD, once each, with - / . or a space between them or nothing")
    return text


SafeText = Annotated[str, AfterValidator(_safe)]
HostName = Annotated[str, Field(min_length=1), AfterValidator(_safe), AfterValidator(_host_name)]
IsilBase = Annotated[str, AfterValidator(_known_isil)]
DateFormat = Annotated[str, AfterValidator(_date_format)]
Flags = Annotated[frozenset[StrictInt | StrictStr], AfterValidator(positions)]
FieldCode = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]$")]


class Library(BaseModel):
    """How one home library is reached. Time-outs are in seconds.

    A connection that was idle for `idle_seconds` is not used again: a firewall may have dropped it without a
    word. `requests_per_second` None: as fast as it answers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    protocol: Literal["sip2"] = "sip2"
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
    encoding: Literal["cp850", "utf-8"] = "cp850"
    checksums: bool = True
    expiry_field: FieldCode | None = None
    date_format: DateFormat = STANDARD
    birth_date_field: FieldCode | None = None
    patron_type_field: FieldCode | None = None
    guest_patron_types: frozenset[str] = frozenset()
    refusing_flags: Flags = USUALLY_REFUSING
    connections: int = Field(default=4, ge=1, le=64)
    requests_per_second: float | None = Field(default=None, gt=0, le=10_000)
    idle_seconds: float = Field(default=60.0, gt=0, le=3600)
    connect_seconds: Seconds = 3.0
    answer_seconds: Seconds = 5.0
    aliases: frozenset[IsilBase] = frozenset()

    @property
    def uses_tls(self) -> bool:
        """Unless the file says otherwise, whatever leaves this machine is encrypted."""
        return not is_loopback(self.host) if self.tls is None else self.tls

    @cached_property
    def refusing(self) -> frozenset[int]:
        """The positions of the status flags that refuse (R4)."""
        return positions(self.refusing_flags)

    @model_validator(mode="after")
    def _protects(self) -> Self:
        if not self.tls_verify and not is_loopback(self.host):
            raise ValueError("tls_verify: may be false only for a host on this machine; give tls_ca_file")
        settings = {"tls_ca_file", "tls_server_name", "tls_verify"} & self.model_fields_set
        if settings and not self.uses_tls:
            raise ValueError(f"{min(settings)}: means nothing without TLS; add tls = true")
        return self

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.username_env is None) != (self.password_env is None):
            raise ValueError("username_env and password_env go together: give both or neither")
        if self.guest_patron_types and self.patron_type_field is None:
            raise ValueError("guest_patron_types needs patron_type_field: the field that tells the type")
        if not is_writable(self.location + self.institution, self.encoding):
            raise ValueError(f"location and institution must be text that {self.encoding} can write")
        return self
