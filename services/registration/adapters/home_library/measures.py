"""What operators see of home libraries at /metrics: how many verdicts, in how many seconds, by library."""

from prometheus_client import Histogram

from registration.domain.verdict import NotFound, Refused, Unavailable, Valid, Verdict

_SECONDS = Histogram(
    "registration_home_library_seconds",
    "How long a home library took to answer, or not to.",
    ["isil", "verdict"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0),
)
_NAMES = {Valid: "valid", Refused: "refused", NotFound: "not_found", Unavailable: "unavailable"}


class Measures:
    """Those of one library, looked up once: there are as many questions in a night as there are guests."""

    def __init__(self, isil: str) -> None:
        self._seconds = {kind: _SECONDS.labels(isil, name) for kind, name in _NAMES.items()}

    def count(self, verdict: Verdict, seconds: float) -> None:
        """One question was answered with this."""
        self._seconds[type(verdict)].observe(seconds)
