"""Home libraries in memory: the same port, for tests and for trying things out."""

from collections.abc import Iterable, Mapping

from registration.domain.card import canonical_card_number
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.isil import Isil
from registration.domain.verdict import NotFound, Unavailable, Verdict


class InMemoryHomeLibraries:
    """Knows the libraries in `isils`, and the verdicts told with `answers`; any other card is not found.

    `aliases` leads from the base of a merged library to that of the surviving one (R3).
    """

    def __init__(self, isils: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        self._verdicts: dict[str, dict[str, Verdict]] = {Isil.parse(isil).base: {} for isil in isils}
        self._aliases = aliases or {}
        self._down: set[str] = set()

    async def ask(self, isil: str, card_number: str) -> Verdict:
        """Ask about a card (R4). Raises UnknownHomeLibrary, MalformedIsil, MalformedCardNumber (R1, R3)."""
        base = self._base(isil)
        card_number = canonical_card_number(card_number)
        if base not in self._verdicts:
            raise UnknownHomeLibrary
        if base in self._down:
            return Unavailable("cannot connect")
        return self._verdicts[base].get(card_number, NotFound())

    def connections(self, isil: str) -> int:
        """See `HomeLibraries.connections`."""
        if self._base(isil) not in self._verdicts:
            raise UnknownHomeLibrary
        return 4

    def answers(self, isil: str, card_number: str, verdict: Verdict) -> None:
        """From now on this is what the library says about this card."""
        self._verdicts[self._base(isil)][canonical_card_number(card_number)] = verdict

    def goes_down(self, isil: str) -> None:
        """From now on the library does not answer."""
        self._down.add(self._base(isil))

    def comes_back(self, isil: str) -> None:
        """From now on the library answers again."""
        self._down.discard(self._base(isil))

    def _base(self, isil: str) -> str:
        return Isil.parse(isil).surviving(self._aliases).base
