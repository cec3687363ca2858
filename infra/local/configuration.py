"""The settings of the local stack's services, with their organisations and home libraries."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.credentials import CLIENT_ID, Credentials, write_privately
from infra.local.postgres import DatabaseUrls
from infra.rabbitmq.permissions import OTHER

USERNAME = "landelijk-lenen"
PASSWORD = "alleen-op-deze-machine"  # noqa: S105 - of a demo on 127.0.0.1 only

HOME_LIBRARY_ENVIRONMENT = {
    "REGISTRATION_HOME_LIBRARY_USERNAME": USERNAME,
    "REGISTRATION_HOME_LIBRARY_PASSWORD": PASSWORD,
}
"""The variables that the file of home libraries names. They are written to `registration.env`."""

_CLOSED_PORT = 1
"""A privileged port (tcpmux) that nothing uses, so that a connection is refused at once."""

_TEMPLATE = """\
# The addresses of the home libraries. The *_env keys name environment variables with the credentials.

[libraries.NL-070288]
name = "Thuisbibliotheek (demo)"
host = "127.0.0.1"
port = {sip_port}
username_env = "REGISTRATION_HOME_LIBRARY_USERNAME"
password_env = "REGISTRATION_HOME_LIBRARY_PASSWORD"
institution = "NL-070288"
location = "Landelijk Lenen"
encoding = "cp850"
expiry_field = "PA"
birth_date_field = "PB"
patron_type_field = "PC"
guest_patron_types = ["GAST"]
connections = 8

# In the story it merges into the library above.
[libraries.NL-070277]
name = "Thuisbibliotheek Oost (demo)"
host = "127.0.0.1"
port = {sip_port}
username_env = "REGISTRATION_HOME_LIBRARY_USERNAME"
password_env = "REGISTRATION_HOME_LIBRARY_PASSWORD"
institution = "NL-070288"
location = "Landelijk Lenen"
encoding = "cp850"

[libraries.NL-083424]
name = "Bibliotheekservice Fryslân (demo)"
host = "127.0.0.1"
port = {sip_port}
username_env = "REGISTRATION_HOME_LIBRARY_USERNAME"
password_env = "REGISTRATION_HOME_LIBRARY_PASSWORD"
institution = "NL-083424"
location = "Landelijk Lenen"
encoding = "utf-8"
expiry_field = "PA"
birth_date_field = "PB"
patron_type_field = "PC"
guest_patron_types = ["GAST"]
connections = 8

# Always down.
[libraries.NL-999999]
name = "Bibliotheek die er niet is (demo)"
host = "127.0.0.1"
port = {closed_port}
connect_seconds = 1.0
"""


def home_libraries_toml(sip_port: int) -> str:
    """Return the file of home libraries, for a demo home library on this port of 127.0.0.1."""
    return _TEMPLATE.format(sip_port=sip_port, closed_port=_CLOSED_PORT)


ORGANISATIONS = """\
[organisations.1001]
name = "Biblionet Drenthe"
isils = ["NL-070297"]
branches = { 9453 = "Roden", 9300 = "Assen" }

# Every organisation has its own branch codes: two organisations may use the same code.
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


CATALOGUES = """\
# Where patrons sign in, and what each catalogue may do.

[issuers."{accounts}"]
account_claim = "sub"
nonce_required = true

[catalogues.wisecat]
client_ids."{accounts}" = ["wisecat"]
return_to = "{wisecat}/"
"""
CALLBACK, SIGNED_OUT, LOGGED_OUT_ELSEWHERE = "/terug", "/afgemeld", "/einde"
"""Paths of the catalogue, as the account provider knows them."""
ACCOUNTS_PATH = "/accounts"
"""Below the sign-in service: the issuer at which patrons sign in."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Ports and addresses of the stack, from which the settings of both services are made."""

    registration_port: int
    identity_port: int
    worker_ports: Mapping[str, int]
    databases: Mapping[str, DatabaseUrls]
    amqp: Mapping[str, str] | None
    home_library_port: int
    account_directory_port: int
    sign_in_port: int
    wisecat_port: int

    def amqp_of(self, service: str) -> str | None:
        """Return the URL of the broker for the user of one service; None for the feed."""
        return self.amqp[service] if self.amqp else None

    def worker(self, service: str) -> str:
        """Return the address of a worker's health and metrics."""
        return f"http://127.0.0.1:{self.worker_ports[service]}"

    @property
    def counter(self) -> str:
        """The address of the counter's pages, and of registration."""
        return f"http://127.0.0.1:{self.registration_port}"

    @property
    def identity(self) -> str:
        """The address of identity."""
        return f"http://127.0.0.1:{self.identity_port}"

    @property
    def wisecat(self) -> str:
        """The address of the Wisecat+ demo."""
        return f"http://127.0.0.1:{self.wisecat_port}"

    @property
    def sign_in(self) -> str:
        """The address of the sign-in service, which is the issuer of all tokens."""
        return f"http://127.0.0.1:{self.sign_in_port}"

    @property
    def accounts(self) -> str:
        """The address of the account provider, which is the issuer of the ID tokens of patrons."""
        return self.sign_in + ACCOUNTS_PATH


def write_settings(run_dir: Path, credentials: Credentials, at: Addresses) -> None:
    """Write `$RUN_DIR/<service>.env` for both services, and the files that these settings name."""
    organisations, home_libraries = run_dir / "organisations.toml", run_dir / "home_libraries.toml"
    if not organisations.exists():
        organisations.write_text(ORGANISATIONS, encoding="utf-8")
    catalogues = run_dir / "catalogues.toml"
    catalogues.write_text(CATALOGUES.format(accounts=at.accounts, wisecat=at.wisecat), encoding="utf-8")
    home_libraries.write_text(home_libraries_toml(at.home_library_port), encoding="utf-8")
    registration = _common(
        "registration",
        credentials,
        at.registration_port,
        at.databases["registration"],
        at.amqp_of("registration"),
    ) | {
        "WORKER_PORT": str(at.worker_ports["registration"]),
        "IDENTITY_URL": at.identity,
        "HOME_LIBRARIES": str(home_libraries),
        **{name.removeprefix("REGISTRATION_"): value for name, value in HOME_LIBRARY_ENVIRONMENT.items()},
        "ORGANISATIONS": str(organisations),
        # Tests and demos look up more people than a clerk does.
        "LOOKUPS_PER_MINUTE": "300",
        "LOOKUPS_PER_HOUR": "3000",
        "OIDC_CLIENT_ID": CLIENT_ID,
        "SESSION_KEY_FILE": str(credentials.session_key),
        "COUNTER_URL": at.counter,
    }
    identity = _common(
        "identity", credentials, at.identity_port, at.databases["identity"], at.amqp_of("identity")
    ) | {
        "WORKER_PORT": str(at.worker_ports["identity"]),
        "REGISTRATION_URL": f"http://127.0.0.1:{at.registration_port}",
        "ACCOUNT_DIRECTORY_URL": f"http://127.0.0.1:{at.account_directory_port}",
        "ORGANISATIONS": str(organisations),
        "CATALOGUES": str(catalogues),
        "COUNTER_URL": at.counter,
    }
    for service, settings in (("registration", registration), ("identity", identity)):
        settings["ERASURE_LEDGER"] = str(run_dir / "ledger" / f"{service}.jsonl")
        write_privately(run_dir / f"{service}.env", _lines(service, settings))


def _common(
    service: str, credentials: Credentials, port: int, database: DatabaseUrls, amqp: str | None
) -> dict[str, str]:
    return {
        "DATABASE_URL": database.service,
        "OWNER_DATABASE_URL": database.owner,
        **({"AMQP_URL": amqp} if amqp else {}),
        "SIGNING_KEY_FILE": str(credentials.message_key(service)),
        "VERIFICATION_KEY_FILE": str(credentials.message_key(OTHER[service])),
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
