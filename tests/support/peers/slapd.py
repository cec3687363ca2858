"""Debian's `slapd` (OpenLDAP): started by the tests as a process of their own, never the machine's service.

Its port is free, and its folder is a test's. Accounts are below `BASE`: `uid`, `mail`, `o` (the library),
`employeeNumber` (the card), `accountActive`. A filter must be of a reader that has signed in.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.processes import Program
from tests.support.peers import met
from tests.support.peers.environments import PeerMissing

SLAPD = Path("/usr/sbin/slapd")
SLAPADD = Path("/usr/sbin/slapadd")
SUFFIX = "dc=bibliotheek,dc=example"
BASE = f"ou=leners,{SUFFIX}"
READER = f"cn=landelijk-lenen,{SUFFIX}"
PASSWORD = "geheim wachtwoord ë"
_SCHEMAS = ("core", "cosine", "inetorgperson")
_OURS = "1.3.6.1.4.1.55555"
_BOOLEAN = "1.3.6.1.4.1.1466.115.121.1.7"
_START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class LdapUser:
    """An entry below BASE. Values are written as they are: an LDIF file has them in base64."""

    uid: str
    display_name: str | None = None
    mail: str | None = None
    o: str | None = None
    employee_number: str | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class Slapd:
    """A running server: in clear text with STARTTLS at `port`, in TLS at `tls_port`; both at `localhost`."""

    port: int
    tls_port: int
    version: str


@contextmanager
def slapd(
    users: Sequence[LdapUser], folder: Path, *, certificate: Path, key: Path, size_limit: int = 500
) -> Iterator[Slapd]:
    """Serve these users while the context lasts. Raises PeerMissing when it is missing or does not start."""
    _install()
    port, tls_port = free_port(), free_port()
    data = folder / "data"
    data.mkdir(parents=True)
    configuration = folder / "slapd.conf"
    configuration.write_text(_configuration(data, certificate, key, size_limit), "utf-8")
    (folder / "users.ldif").write_text(_ldif(users), "utf-8")
    _filled(configuration, folder / "users.ldif")
    addresses = f"ldap://{LOOPBACK}:{port}/ ldaps://{LOOPBACK}:{tls_port}/"
    command = [str(SLAPD), "-f", str(configuration), "-h", addresses, "-d", "0"]
    server = Program("slapd", command, folder / "log")
    server.spawn()
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (answers(port) and answers(tls_port)):
            if not server.running or time.monotonic() > deadline:
                raise PeerMissing(f"slapd did not start: {server.last_words(20)}")
            time.sleep(0.02)
        version = _version()
        met(f"slapd {version} (LDAP 3)")
        yield Slapd(port, tls_port, version)
    finally:
        server.stop()


def _configuration(data: Path, certificate: Path, key: Path, size_limit: int) -> str:
    includes = "\n".join(f"include /etc/ldap/schema/{name}.schema" for name in _SCHEMAS)
    return f"""{includes}
attributetype ( {_OURS}.1 NAME 'accountActive' EQUALITY booleanMatch SYNTAX {_BOOLEAN} SINGLE-VALUE )
objectclass ( {_OURS}.2 NAME 'libraryAccount' SUP top AUXILIARY MAY accountActive )
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
sizelimit {size_limit}
pidfile {data}/pid
database mdb
maxsize 16777216
suffix "{SUFFIX}"
rootdn "cn=root,{SUFFIX}"
directory {data}
index uid,employeeNumber eq
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""


def _ldif(users: Sequence[LdapUser]) -> str:
    entries = [
        [("dn", SUFFIX), ("objectClass", "domain"), ("dc", "bibliotheek")],
        [("dn", BASE), ("objectClass", "organizationalUnit"), ("ou", "leners")],
        [
            ("dn", READER),
            ("objectClass", "applicationProcess"),
            ("objectClass", "simpleSecurityObject"),
            ("cn", "landelijk-lenen"),
            ("userPassword", PASSWORD),
        ],
        *(_entry(number, user) for number, user in enumerate(users)),
    ]
    return "\n".join("".join(_line(name, value) for name, value in entry) for entry in entries)


def _entry(number: int, user: LdapUser) -> list[tuple[str, str]]:
    optional = {
        "displayName": user.display_name,
        "mail": user.mail,
        "o": user.o,
        "employeeNumber": user.employee_number,
        "accountActive": None if user.active is None else str(user.active).upper(),
    }
    return [
        ("dn", f"cn=lener {number},{BASE}"),
        *(("objectClass", name) for name in ("inetOrgPerson", "libraryAccount")),
        ("cn", f"lener {number}"),
        ("sn", "Jansen"),
        ("uid", user.uid),
        *((name, value) for name, value in optional.items() if value is not None),
    ]


def _line(name: str, value: str) -> str:
    return f"{name}:: {base64.b64encode(value.encode()).decode()}\n"


def _filled(configuration: Path, ldif: Path) -> None:
    command = [str(SLAPADD), "-q", "-f", str(configuration), "-l", str(ldif)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerMissing(f"slapadd: {done.stderr}")


def _version() -> str:
    shown = subprocess.run([str(SLAPD), "-VV"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"slapd (\S+)", shown)
    return found.group(1) if found else "of an unknown version"


def _install() -> None:
    """Directories are never left untested: where slapd is missing, Debian's or Ubuntu's package is installed.

    `RUNLEVEL=1` keeps the package from starting a server of the machine's own.
    """
    with (Path(tempfile.gettempdir()) / "landelijk-lenen-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if SLAPD.exists():
            return
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise PeerMissing("slapd is not installed: run `apt-get install slapd` (as root)")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        install = ["apt-get", "install", "--yes", "--no-install-recommends", "slapd"]
        if subprocess.run(install, env=environment, check=False).returncode != 0:
            subprocess.run(["apt-get", "update"], env=environment, check=True)
            subprocess.run(install, env=environment, check=True)
