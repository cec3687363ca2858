"""What the services of the local stack are told: their settings files, the organisations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.credentials import CLIENT_ID, Credentials, write_privately
from infra.local.home_libraries_toml import HOME_LIBRARY_ENVIRONMENT, home_libraries_toml

ORGANISATIONS = """\
[organisations.1001]
name = "Biblionet Drenthe"
isils = ["NL-070297"]
branches = { 9453 = "Roden", 9300 = "Assen" }

# Branch codes are each organisation's own: the same one may stand for two places.
[organisations.2002]
name = "DOK Delft"
isils = ["NL-083559"]
branches = { 2611 = "Delft", 9453 = "Tanthof" }

# The library where the demo patrons are members.
[organisations.3003]
name = "Thuisbibliotheek"
isils = ["NL-070288"]
branches = { 7000 = "Centrum" }
"""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is: what the settings of both services are made of."""

    registration_port: int
    identity_port: int
    registration_database: str
    identity_database: str
    amqp: str | None
    home_library_port: int
    account_directory_port: int
    sign_in_port: int
    wisecat_port: int

    @property
    def counter(self) -> str:
        """Where browsers reach the counter's pages."""
        return f"http://127.0.0.1:{self.registration_port}"

    @property
    def identity(self) -> str:
        """Where identity answers."""
        return f"http://127.0.0.1:{self.identity_port}"

    @property
    def wisecat(self) -> str:
        """Where browsers reach the demo of Wisecat+."""
        return f"http://127.0.0.1:{self.wisecat_port}"

    @property
    def sign_in(self) -> str:
        """The issuer of all tokens."""
        return f"http://127.0.0.1:{self.sign_in_port}"


def write_settings(run_dir: Path, credentials: Credentials, at: Addresses) -> None:
    """Write `$RUN_DIR/<service>.env` for both services, and the files that these name."""
    organisations, home_libraries = run_dir / "organisations.toml", run_dir / "home_libraries.toml"
    if not organisations.exists():
        organisations.write_text(ORGANISATIONS, encoding="utf-8")
    home_libraries.write_text(home_libraries_toml(at.home_library_port), encoding="utf-8")
    registration = _common(
        "registration", credentials, at.registration_port, at.registration_database, at.amqp
    ) | {
        "IDENTITY_URL": at.identity,
        "HOME_LIBRARIES": str(home_libraries),
        **{name.removeprefix("REGISTRATION_"): value for name, value in HOME_LIBRARY_ENVIRONMENT.items()},
        "ORGANISATIONS": str(organisations),
        "OIDC_CLIENT_ID": CLIENT_ID,
        "SESSION_KEY_FILE": str(credentials.session_key),
        "COUNTER_URL": at.counter,
    }
    identity = _common("identity", credentials, at.identity_port, at.identity_database, at.amqp) | {
        "REGISTRATION_URL": f"http://127.0.0.1:{at.registration_port}",
        "ACCOUNT_DIRECTORY_URL": f"http://127.0.0.1:{at.account_directory_port}",
        "ORGANISATIONS": str(organisations),
    }
    for service, settings in (("registration", registration), ("identity", identity)):
        settings["ERASURE_LEDGER"] = str(run_dir / "ledger" / f"{service}.jsonl")
        write_privately(run_dir / f"{service}.env", _lines(service, settings))


def _common(
    service: str, credentials: Credentials, port: int, database: str, amqp: str | None
) -> dict[str, str]:
    return {
        "DATABASE_URL": database,
        **({"AMQP_URL": amqp} if amqp else {}),
        "OIDC_ISSUER": credentials.issuer,
        "OIDC_JWKS": str(credentials.jwks),
        "SERVICE_TOKEN_FILE": str(credentials.service_token(service)),
        "MASTER_KEY_FILE": str(credentials.master_key(service)),
        "PERSON_REF_KEY_FILE": str(credentials.person_ref_key),
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }


def _lines(service: str, settings: Mapping[str, str]) -> str:
    prefix = service.upper()
    return "".join(f"{prefix}_{name}='{value}'\n" for name, value in settings.items())
