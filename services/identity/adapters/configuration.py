"""The files of settings of identity: which there are, and what is read again without a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from identity.adapters.catalogues import catalogues_in
from identity.settings import Settings
from shared.configuration import Live, Loaded
from shared.configuration.files import SettingsFile, read_together
from shared.kernel.organisations import read_organisations
from shared.kernel.toml_file import TomlFile
from shared.web.issuer import groups_in


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the files say. `isils`: organisation -> the ISILs of its own libraries (I4)."""

    isils: Mapping[str, frozenset[str]]


def settings_files(settings: Settings) -> Mapping[str, SettingsFile]:
    """Return the files, by the name of their setting."""
    files = {"organisations": SettingsFile(settings.organisations, _isils)}
    if settings.catalogues is not None:
        files["catalogues"] = SettingsFile(settings.catalogues, catalogues_in, reloaded=False)
    if settings.oidc_groups is not None:
        files["oidc_groups"] = SettingsFile(settings.oidc_groups, groups_in, reloaded=False)
    return files


def live_configuration(settings: Settings) -> Live[Configuration]:
    """Return the settings in use. Raises Mistakes."""
    return Live(lambda: read_configuration(settings))


def read_configuration(settings: Settings) -> Loaded[Configuration]:
    """Read the files that are read again. Raises Mistakes with what is wrong in any of them."""
    files = {name: file for name, file in settings_files(settings).items() if file.reloaded}
    found = read_together(files)
    return Loaded(Configuration(found.meaning["organisations"]), found.digest, found.settings)


def _isils(file: TomlFile) -> Mapping[str, frozenset[str]]:
    return {code: found.isils for code, found in read_organisations(file).items()}
