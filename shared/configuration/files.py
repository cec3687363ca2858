"""Read several files of settings together: all of them are valid, or every mistake is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.configuration.changes import Readable
from shared.kernel.errors import ConfigurationError
from shared.kernel.toml_file import Mistake, Mistakes, TomlFile, readable


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """One file and how it is read. `reloaded`: a running process reads it again; else a restart does."""

    path: Path
    read: Callable[[TomlFile], Any]
    reloaded: bool = True


@dataclass(frozen=True, slots=True)
class ReadTogether:
    """What each file means, by the name of its setting; the digest of all, and the settings for people."""

    meaning: Mapping[str, Any]
    digest: str
    settings: Readable


def read_together(files: Mapping[str, SettingsFile]) -> ReadTogether:
    """Read all files. Raises Mistakes with what is wrong in any of them."""
    meaning: dict[str, Any] = {}
    settings: dict[str, Mapping[str, str]] = {}
    mistakes: list[Mistake] = []
    digest = hashlib.sha256()
    for name, file in files.items():
        try:
            content = TomlFile.read(file.path)
            meaning[name] = file.read(content)
        except Mistakes as error:
            mistakes += error.found
        except OSError as error:
            mistakes.append(Mistake("", f"{error.strerror or 'cannot be read'}", file.path))
        except ConfigurationError as error:
            mistakes.append(Mistake("", str(error), file.path))
        else:
            digest.update(f"{name} {content.digest}\n".encode())
            settings |= readable(content.tables)
    if mistakes:
        raise Mistakes(mistakes)
    return ReadTogether(meaning, digest.hexdigest(), settings)


def mistakes_in(files: Mapping[str, SettingsFile]) -> list[Mistake]:
    """Return every mistake in these files."""
    try:
        read_together(files)
    except Mistakes as error:
        return list(error.found)
    return []
