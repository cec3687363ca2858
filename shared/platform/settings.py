"""Settings from the environment, the same way in both services.

A service's settings class sets `env_prefix`. With `RUN_DIR` set, `$RUN_DIR/<service>.env` is read as well, so
that commands work beside a running local stack; the real environment wins.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.kernel.errors import ConfigurationError
from shared.kernel.text import require_identifier
from shared.platform.addresses import Address, BrokerAddresses, masked
from shared.platform.database_hosts import require_primary

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
Contact = Annotated[str, Field(max_length=200, pattern=r"^(https://\S+|[^\s@/:]+@[^\s@/:]+)$")]
"""An e-mail address, or the address of a page."""
ADDRESSES = ("identity_url", "registration_url", "account_directory_url")
"""What these answer is believed: they need TLS, or must be on this machine or at a named private host."""


def require_tls(address: str) -> str:
    """Return the address. Raises ValueError unless it is https://, or http:// on this machine."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError("use an https:// address, or http:// on this machine")
    return address


def _hosts(named: str) -> frozenset[str]:
    return frozenset(host.strip() for host in named.split(",")) - {""}


def _finds_the_primary(address: SecretStr) -> SecretStr:
    require_primary(address.get_secret_value())
    return address


DatabaseAddress = Annotated[Address, AfterValidator(_finds_the_primary)]
ClaimName = Annotated[str, AfterValidator(require_identifier)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


@dataclass(frozen=True)
class HttpLimits:
    """What the HTTP service takes from clients. Beyond it a request is refused, or its connection closed."""

    max_connections: int = 1000
    max_head_bytes: int = 16 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    send_seconds: float = 30.0


class ServiceSettings(BaseSettings):
    """The settings of both services. Addresses that may hold a password are secrets: a repr hides them."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, frozen=True)

    plain_http_hosts: str = ""  # comma-separated; of a private network: they may be asked without TLS
    database_url: DatabaseAddress
    owner_database_url: DatabaseAddress | None = None  # for `migrate` and the like; None: one role for all
    amqp_url: BrokerAddresses | None = None  # of one node or of a cluster; None: the feed is the transport
    signing_key_file: Path | None = None  # signs our messages; needed with AMQP_URL
    verification_key_file: Path | None = None  # verifies the other service's messages; needed with AMQP_URL
    unsigned_until: AwareDatetime | None = None  # after an upgrade: take unsigned messages until this moment
    oidc_issuer: str
    oidc_jwks: str | None = None  # address or file; None: discovery at the issuer
    oidc_audience: str  # this service's name in the claim `aud`; each service has its own default
    oidc_typed_tokens: bool = True  # tokens must have the type `at+jwt` (RFC 9068)
    oidc_subject_claim: ClaimName = "sub"  # where in a token is what; with dots: inside an object
    oidc_organisation_claim: ClaimName = "organisation"
    oidc_scope_claim: ClaimName = "scope"
    oidc_groups_claim: ClaimName = "groups"
    oidc_groups: Path | None = None  # TOML: scopes and organisations of groups; None: groups mean nothing
    service_token_file: Path | None = None  # bearer token for calling the other service; or fetched by:
    # A client with client credentials; it needs a secret, or a private key (PEM or JSON Web Key).
    service_client_id: Annotated[str | None, Field(validate_default=True)] = None
    service_client_secret_file: Path | None = None
    service_client_key_file: Annotated[Path | None, Field(validate_default=True)] = None
    service_token_issuer: str | None = None  # where that client is known; None: OIDC_ISSUER
    service_token_scope: str | None = None  # with spaces; what the client asks for
    service_token_audience: str | None = None  # the service the token is for, if the issuer wants it so
    service_token_resource: str | None = None  # the same by RFC 8707
    master_key_file: Path
    person_ref_key_file: Path
    erasure_ledger: Path | None = None  # file, outside the backups (R19); None: no ledger
    retention_days: Annotated[int, Field(ge=1)] | None = None  # None: personal data is erased on request only
    host: str = "127.0.0.1"
    port: int = 8000
    worker_port: int = 8010  # of the worker's health and metrics
    http_max_connections: Annotated[int, Field(ge=1)] = HttpLimits.max_connections
    http_max_head_bytes: Annotated[int, Field(ge=1024)] = HttpLimits.max_head_bytes  # tokens need 8 KiB
    http_head_seconds: Seconds = HttpLimits.head_seconds  # for a head to arrive
    http_body_seconds: Seconds = HttpLimits.body_seconds  # for a body to arrive
    # Longer than clients keep an idle connection: if the server closed first, a new request could be lost.
    http_idle_seconds: Seconds = HttpLimits.idle_seconds
    http_send_seconds: Seconds = HttpLimits.send_seconds  # for a response to be taken
    contact: Annotated[str, Field(max_length=200, pattern=r"^(https://\S+|[^\s@/:]+@[^\s@/:]+)$")] | None = (
        None
    )
    log_level: str = "INFO"
    telemetry: bool = False  # OpenTelemetry spans and metrics of requests, by their routes

    @field_validator("service_token_issuer")
    @classmethod
    def _has_tls_or_is_here(cls, value: str | None) -> str | None:
        return require_tls(value) if value else value

    @field_validator("service_client_id")
    @classmethod
    def _is_the_only_token(cls, value: str | None, info: ValidationInfo) -> str | None:
        if (info.data.get("service_token_file") is None) == (value is None):
            raise ValueError("set one of SERVICE_TOKEN_FILE and SERVICE_CLIENT_ID")
        return value

    @field_validator("service_client_key_file")
    @classmethod
    def _is_the_only_proof(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        is_needed = info.data.get("service_client_id") is not None
        if is_needed and (info.data.get("service_client_secret_file") is None) == (value is None):
            raise ValueError(
                "with SERVICE_CLIENT_ID set one of SERVICE_CLIENT_SECRET_FILE and SERVICE_CLIENT_KEY_FILE"
            )
        return value

    @field_validator("oidc_issuer", "oidc_jwks")
    @classmethod
    def _is_protected(cls, value: str | None, info: ValidationInfo) -> str | None:
        is_file = info.field_name == "oidc_jwks" and "://" not in str(value)
        return value if is_file else require_tls(str(value))

    @field_validator(*ADDRESSES, check_fields=False)
    @classmethod
    def _has_tls(cls, value: str | None, info: ValidationInfo) -> str | None:
        private = LOOPBACK | _hosts(info.data.get("plain_http_hosts", ""))
        if value and urlsplit(value).scheme == "http" and urlsplit(value).hostname not in private:
            raise ValueError("use https, or name the host in PLAIN_HTTP_HOSTS if its network is private")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order: arguments (tests), the environment, the local stack's file."""
        return init_settings, env_settings, DotEnvSettingsSource(settings_cls, env_file=cls.env_file())

    @property
    def http_limits(self) -> HttpLimits:
        """What the HTTP service takes from other sides."""
        return HttpLimits(**{field.name: getattr(self, f"http_{field.name}") for field in fields(HttpLimits)})

    @property
    def private_hosts(self) -> frozenset[str]:
        """The hosts of a private network, which may be asked without TLS."""
        return _hosts(self.plain_http_hosts)

    @property
    def owner_url(self) -> str:
        """The address of the database for the role that owns the tables."""
        return (self.owner_database_url or self.database_url).get_secret_value()

    @classmethod
    def prefix(cls) -> str:
        """Return `REGISTRATION_` or `IDENTITY_`."""
        return cls.model_config.get("env_prefix", "")

    @classmethod
    def env_file(cls) -> Path | None:
        """Return the local stack's settings file of this service; None without `RUN_DIR`."""
        run_dir = os.environ.get("RUN_DIR")
        return Path(run_dir) / f"{cls.prefix().rstrip('_').lower()}.env" if run_dir else None

    @classmethod
    def from_environment(cls) -> Self:
        """Read all settings. Raises ConfigurationError, which names the wrong ones and what to do."""
        try:
            return cls.model_validate({})
        except ValidationError as error:
            raise ConfigurationError(_complaint(cls.prefix(), error, cls.env_file())) from None


def _complaint(prefix: str, error: ValidationError, env_file: Path | None) -> str:
    faults = [
        f"{prefix}{str(fault['loc'][0]).upper()} "
        + ("is not set" if fault["type"] == "missing" else f"is wrong: {fault['msg']}")
        for fault in error.errors(include_input=False, include_url=False)
    ]
    if any(fault["type"] == "missing" for fault in error.errors()):
        advice = "Set it in the environment, or set RUN_DIR to the folder of a running local stack."
    else:
        advice = f"Correct it in the environment{f' or in {env_file}' if env_file else ''}."
    return f"{'; '.join(faults)}. {advice}"


@dataclass(frozen=True, slots=True)
class SettingShown:
    """One setting as operators see it: secrets masked, and the source of the value."""

    name: str
    value: str
    source: str  # "environment", a file's path, "default" or "not set"


def shown(kind: type[ServiceSettings]) -> list[SettingShown]:
    """Return every setting of a service with its source, also when some are wrong."""
    path = kind.env_file()
    in_file = dotenv_values(path) if path and path.is_file() else {}
    return [_one(kind, name, in_file, str(path)) for name in kind.model_fields]


def _one(
    kind: type[ServiceSettings], field: str, in_file: Mapping[str, str | None], path: str
) -> SettingShown:
    name = f"{kind.prefix()}{field.upper()}"
    for values, source in ((os.environ, "environment"), (in_file, path)):
        if value := values.get(name):
            return SettingShown(name, masked(value), source)
    default = kind.model_fields[field]
    if default.is_required() or default.default is None:
        return SettingShown(name, "", "not set")
    return SettingShown(name, str(default.default), "default")
