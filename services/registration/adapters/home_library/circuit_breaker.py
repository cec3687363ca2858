"""A circuit breaker: a library that keeps failing is left alone for a while, so that nobody waits for it."""

from collections.abc import Callable
from time import monotonic

_FAILURES_TO_OPEN = 5
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class CircuitBreaker:
    """Opens after five failures in a row, for one second at first, twice as long each time, at most thirty.

    After the pause one question goes through as a trial: it closes the circuit or opens it again. A trial of
    which nothing is heard makes room for the next one after another pause.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.succeeded()

    def succeeded(self) -> None:
        """The library answered."""
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._open_until: float | None = None
        self._on_trial = False

    def lets_through(self) -> bool:
        """Whether to ask now. Of many who come after the pause only the first may."""
        if self._open_until is None:
            return True
        if self._clock() < self._open_until:
            return False
        self._open_until = self._clock() + self._pause
        self._on_trial = True
        return True

    def failed(self) -> None:
        """The library did not answer."""
        self._failures += 1
        if self._on_trial:
            self._on_trial = False
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        elif self._open_until is not None or self._failures < _FAILURES_TO_OPEN:
            return  # a straggler asked before it opened, or not enough yet
        self._open_until = self._clock() + self._pause
