"""All views of identity."""

from identity.read_models import accounts, links, logins

VIEWS = (accounts.VIEW, links.VIEW, logins.VIEW)
