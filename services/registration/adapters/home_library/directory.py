"""Which home libraries there are and how each is reached: a TOML file, validated (A9).

[libraries.NL-070288]
host = "sip.library.example"
port = 6001
username_env = "HOME_NL_070288_USERNAME"   # credentials stand in the environment, never in the file
password_env = "HOME_NL_070288_PASSWORD"
tls = true                                 # the default; false where a tunnel protects the line
tls_ca_file = "/etc/library-ca.pem"        # else the machine's own authorities
tls_server_name = "sip.library.example"    # when the certificate is for another name than the host's
encoding = "cp850"                         # or "utf-8"
expiry_field = "PA"
date_format = "DD-MM-YYYY"               # else the standard's YYYYMMDD, with or without a time
refusing_flags = ["card-lost", "fines", 0] # names or positions; else 0, 4, 5, 6, 9 to 13
connections = 4
requests_per_second = 20                   # else as fast as it answers
aliases = ["NL-070299"]                    # libraries that merged into this one (R3)
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from registration.adapters.home_library.library import IsilBase, Library
from registration.adapters.home_library.sip2 import is_safe, is_writable
from registration.adapters.home_library.tls import tls_context


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    libraries: dict[IsilBase, Library]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a library lets us in with. Kept out of every log by not being shown."""

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


class DirectoryMistake(Exception):
    """The file of home libraries is wrong; the text names the key and what is allowed."""


def load_directory(path: Path, environment: Mapping[str, str]) -> Directory:
    """Reads the file, credentials from `environment`. Raises DirectoryMistake."""
    try:
        return read_directory(path.read_text(encoding="utf-8"), environment)
    except OSError as error:
        raise DirectoryMistake(f"{path}: {error.strerror}") from None
    except (DirectoryMistake, UnicodeDecodeError) as error:
        raise DirectoryMistake(f"{path}: {error}") from None


def read_directory(text: str, environment: Mapping[str, str]) -> Directory:
    """See load_directory."""
    try:
        tables = tomllib.loads(text)
        libraries = _File.model_validate(tables).libraries
    except tomllib.TOMLDecodeError as error:
        raise DirectoryMistake(str(error)) from None
    except ValidationError as error:
        raise DirectoryMistake("; ".join(_mistakes(error))) from None
    if len(libraries) < len(tables["libraries"]):
        raise DirectoryMistake("libraries: two tables are about one library: six digits make it the same")
    credentials = {}
    for isil, library in libraries.items():
        _check_authority(isil, library)
        if library.username_env is not None and library.password_env is not None:
            credentials[isil] = Credentials(
                _secret(isil, library.encoding, "username_env", library.username_env, environment),
                _secret(isil, library.encoding, "password_env", library.password_env, environment),
            )
    return Directory(libraries, credentials, _aliases(libraries))


def _check_authority(isil: str, library: Library) -> None:
    """A file that is missing is told now, not at the first question in the night."""
    if library.tls_ca_file is None:
        return
    try:
        tls_context(library.tls_ca_file, verify=True)
    except OSError as error:
        told = error.strerror if isinstance(error, FileNotFoundError) else "no certificate in PEM form"
        raise DirectoryMistake(f"libraries.{isil}.tls_ca_file: {library.tls_ca_file}: {told}") from None


def _secret(isil: str, encoding: str, key: str, variable: str, environment: Mapping[str, str]) -> str:
    value = environment.get(variable)
    if not value:
        raise DirectoryMistake(f"libraries.{isil}.{key}: the environment has no {variable}")
    if not is_safe(value):
        raise DirectoryMistake(f"libraries.{isil}.{key}: {variable} must not hold | or control characters")
    if not is_writable(value, encoding):
        raise DirectoryMistake(f"libraries.{isil}.{key}: {variable} must be text that {encoding} can write")
    return value


def _aliases(libraries: Mapping[str, Library]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for isil, library in libraries.items():
        for alias in library.aliases:
            if alias in libraries:
                raise DirectoryMistake(
                    f"libraries.{isil}.aliases: {alias} is a library of its own in this file"
                )
            if aliases.setdefault(alias, isil) != isil:
                raise DirectoryMistake(
                    f"libraries.{isil}.aliases: {alias} merged into {aliases[alias]} already"
                )
    return aliases


def _mistakes(error: ValidationError) -> list[str]:
    return [_mistake(fault["loc"], fault) for fault in error.errors(include_url=False, include_input=False)]


def _mistake(location: tuple[int | str, ...], fault: Any) -> str:
    key = ".".join(str(part) for part in location if part != "[key]") or "the file"
    if fault["type"] == "extra_forbidden":
        allowed = Library.model_fields if len(location) > 1 else _File.model_fields
        return f"{key}: no such key; allowed are {', '.join(sorted(allowed))}"
    message: str = fault["msg"]
    return f"{key}: {message.removeprefix('Value error, ')}"
