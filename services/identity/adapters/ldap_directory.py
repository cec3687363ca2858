"""An account directory with LDAP version 3, which is only read."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Sequence

from sansldap import FilterAnd, FilterEquality, FilterOr, LDAPFilter, PartialAttribute

from identity.adapters.account_directory import UnusableAccount
from identity.adapters.directory_settings import LdapDirectory
from identity.adapters.ldap_connection import Server, connected
from identity.adapters.listed_accounts import Entry, ListingDirectory
from identity.application.dependencies import DirectoryUnavailable
from shared.kernel.errors import ConfigurationError
from shared.kernel.files import read_file

MOST_VALUES = 50
"""In one filter."""
MOST_ENTRIES_OF_A_VALUE = 200
"""Entries with one id or username: each library may have the same username."""


class LdapEntry(Entry):
    """An entry of LDAP. Names of attributes have no case, and may have options: `mail;lang-nl`."""

    def __init__(self, attributes: Collection[PartialAttribute]) -> None:
        self._values = {attribute.name.casefold(): attribute.values for attribute in attributes}

    def first(self, name: str) -> str | None:
        """See `Entry.first`."""
        values = self._values.get(name.casefold())
        try:
            return values[0].decode() if values else None
        except UnicodeDecodeError:
            raise UnusableAccount(f"the attribute {name} is not UTF-8") from None

    def flag(self, name: str) -> bool:
        """See `Entry.flag`: a Boolean is TRUE or FALSE (RFC 4517, section 3.3.3)."""
        value = (self.first(name) or "TRUE").upper()
        if value not in ("TRUE", "FALSE"):
            raise UnusableAccount(f"the attribute {name} is neither TRUE nor FALSE")
        return value == "TRUE"


class LdapAccountDirectory(ListingDirectory):
    """Finds accounts by a search below a base. Several accounts are one filter.

    Each question has a connection of its own. Values are bytes in a filter and never text of it, so there is
    nothing to escape in them; only the filter of the settings is text (RFC 4515).
    """

    def __init__(self, settings: LdapDirectory) -> None:
        """Read the filter and the authorities. Raises ConfigurationError or OSError."""
        super().__init__(settings.attributes)
        self._base = settings.base
        self._accounts = _filter_of(settings.filter)
        self._settings = settings
        uses_tls = settings.starttls or settings.url.startswith("ldaps:")
        self._tls = _tls(settings) if uses_tls else None

    async def _most_values(self) -> int:
        """See `ListingDirectory._most_values`."""
        return MOST_VALUES

    async def _entries(self, attribute: str, values: Sequence[str]) -> Sequence[Entry]:
        """See `ListingDirectory._entries`."""
        wanted = FilterAnd([self._accounts, equals(attribute, values)])
        most = MOST_ENTRIES_OF_A_VALUE * len(values)
        async with connected(self._server()) as connection:
            found = await connection.search(self._base, wanted, self._attributes.names, most)
        return [LdapEntry(entry.attributes) for entry in found]

    def _server(self) -> Server:
        """Return where to connect to. The password is read each time, so that it can be changed."""
        settings, password = self._settings, ""
        if settings.password_file is not None:
            try:
                password = read_file(settings.password_file).strip()
            except (OSError, UnicodeDecodeError) as error:
                raise DirectoryUnavailable("the password file cannot be read") from error
            if not password:  # a server would take it for a guest, who signs in with a name only
                raise DirectoryUnavailable("the password file is empty")
        return Server(settings.url, settings.starttls, self._tls, settings.bind_dn or "", password)


def equals(attribute: str, values: Sequence[str]) -> LDAPFilter:
    """Return the filter that finds each of these values."""
    filters: list[LDAPFilter] = [FilterEquality(attribute, value.encode()) for value in values]
    return filters[0] if len(filters) == 1 else FilterOr(filters)


def _filter_of(text: str) -> LDAPFilter:
    try:
        return LDAPFilter.from_string(text)
    except ValueError as error:
        raise ConfigurationError(f"directory.filter: {error}") from error


def _tls(settings: LdapDirectory) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
