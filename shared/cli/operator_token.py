"""Some commands are only for who has the scope `operator`: the bearer token in the environment says so."""

import os

from shared.cli.running import Failed
from shared.settings import ServiceSettings

SCOPE = "operator"


async def operator_at_work(settings: ServiceSettings) -> str:
    """Who holds the token in `…_TOKEN`, which must be good and have the scope `operator`. Raises Failed."""
    import httpx  # noqa: PLC0415

    from shared.web.security import InvalidToken, TokenVerifier  # noqa: PLC0415
    from shared.web.token_keys import KeysUnavailable, keys_of  # noqa: PLC0415

    name = f"{type(settings).prefix()}TOKEN"
    token = os.environ.get(name)
    if not token:
        raise Failed(f"This needs the scope {SCOPE}: put a bearer token that has it into {name}.")
    async with httpx.AsyncClient() as http:
        keys = keys_of(settings.oidc_issuer, settings.oidc_jwks, http)
        try:
            principal = await TokenVerifier(settings.oidc_issuer, keys).verify(token)
        except InvalidToken:
            raise Failed(f"The token in {name} is invalid or expired: sign in again.") from None
        except KeysUnavailable as error:
            raise Failed(f"The token in {name} cannot be checked: {error.__doc__}") from None
    if SCOPE not in principal.scopes:
        raise Failed(f"The token in {name} lacks the scope {SCOPE}: sign in as an operator.")
    return principal.subject
