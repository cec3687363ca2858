"""How one home library is reached: a table of the TOML file."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from registration.adapters.home_library.sip2 import is_safe, is_writable
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


SafeText = Annotated[str, AfterValidator(_safe)]
HostName = Annotated[str, Field(min_length=1), AfterValidator(_safe), AfterValidator(_host_name)]
IsilBase = Annotated[str, AfterValidator(_known_isil)]
FieldCode = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]$")]


class Library(BaseModel):
    """How one home library is reached. Time-outs are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    protocol: Literal["sip2"] = "sip2"
    host: HostName
    port: int = Field(ge=1, le=65535)
    username_env: str | None = None
    password_env: str | None = None
    location: SafeText = ""
    institution: SafeText = ""
    encoding: Literal["cp850", "utf-8"] = "cp850"
    checksums: bool = True
    expiry_field: FieldCode | None = None
    birth_date_field: FieldCode | None = None
    patron_type_field: FieldCode | None = None
    guest_patron_types: frozenset[str] = frozenset()
    connections: int = Field(default=4, ge=1, le=64)
    connect_seconds: Seconds = 3.0
    answer_seconds: Seconds = 5.0
    aliases: frozenset[IsilBase] = frozenset()

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.username_env is None) != (self.password_env is None):
            raise ValueError("username_env and password_env go together: give both or neither")
        if self.guest_patron_types and self.patron_type_field is None:
            raise ValueError("guest_patron_types needs patron_type_field: the field that tells the type")
        if not is_writable(self.location + self.institution, self.encoding):
            raise ValueError(f"location and institution must be text that {self.encoding} can write")
        return self
