"""Looking up a person is limited, and recorded before the answer is given (R22)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registration.application.dependencies import Context, Dependencies, Lookup, LookupKind
from shared.kernel.errors import RuleBroken


@asynccontextmanager
async def looking_up(
    kind: LookupKind, what: str, context: Context, deps: Dependencies, *, home_isil: str | None = None
) -> AsyncIterator[Lookup]:
    """Look up inside the block, and write there what was found. It is recorded at the end of the block.

    A broken rule is the outcome of the look-up, and is recorded too. Raises TooManyLookups: then nothing is
    recorded, and nothing may be shown.
    """
    deps.lookups.admit(context)
    lookup = Lookup(kind, what, home_isil)
    try:
        yield lookup
    except RuleBroken as error:
        lookup.outcome = outcome_of(error)
        await deps.lookups.record(lookup, context)
        raise
    await deps.lookups.record(lookup, context)


def outcome_of(error: RuleBroken) -> str:
    """Return the name of a broken rule, such as `home-patron-not-found`, whatever its kind."""
    rule = next(kind for kind in type(error).__mro__ if RuleBroken in (kind, *kind.__bases__))
    return re.sub(r"(?<!^)(?=[A-Z])", "-", rule.__name__).lower()
