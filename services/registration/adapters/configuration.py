"""The files of settings of registration: which there are, and what is read again without a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registration.adapters.home_library.settings import Directory, directory_of
from registration.adapters.messages import MESSAGE_TYPES
from registration.application.dependencies import Organisation
from registration.settings import Settings, environment
from shared.configuration import Live, Loaded
from shared.configuration.files import SettingsFile, read_together
from shared.kernel.organisations import read_organisations
from shared.kernel.toml_file import TomlFile
from shared.messaging.webhook_receivers import Receiver, read_receivers
from shared.web.issuer import groups_in


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the files say: guest libraries, home libraries with their aliases (I10), webhook receivers."""

    organisations: Mapping[str, Organisation]
    directory: Directory
    receivers: Mapping[str, Receiver] = field(default_factory=dict)

    @property
    def home_library_names(self) -> Mapping[str, str]:
        """ISIL base of a library that can be asked -> its name."""
        return {isil: library.name for isil, library in self.directory.libraries.items()}


def settings_files(settings: Settings) -> Mapping[str, SettingsFile]:
    """Return the files, by the name of their setting."""
    files = {
        "organisations": SettingsFile(settings.organisations, _organisations),
        "home_libraries": SettingsFile(settings.home_libraries, _directory),
    }
    if settings.webhooks is not None:
        files["webhooks"] = SettingsFile(settings.webhooks, _receivers)
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
    meaning = found.meaning
    configuration = Configuration(
        meaning["organisations"], meaning["home_libraries"], meaning.get("webhooks", {})
    )
    return Loaded(configuration, found.digest, found.settings)


def _organisations(file: TomlFile) -> Mapping[str, Organisation]:
    return {
        code: Organisation(code, found.name, found.isils, found.branches, found.strips)
        for code, found in read_organisations(file).items()
    }


def _directory(file: TomlFile) -> Directory:
    return directory_of(file, environment())


def _receivers(file: TomlFile) -> Mapping[str, Receiver]:
    return read_receivers(file, list(MESSAGE_TYPES.values()))
