"""All views of identity."""

from identity.read_models import accounts, links, logins, unused_accounts

VIEWS = (accounts.VIEW, links.VIEW, logins.VIEW, unused_accounts.VIEW)
