"""What `/metrics` tells of the last night (R12), in whatever process it ran."""

from __future__ import annotations

from prometheus_client import Gauge

from registration.application.nights import Nights
from registration.domain.term_tally import Tally

_guests = Gauge("term_check_guests", "Guests asked about in the last night, by what came of it", ["outcome"])
_left = Gauge("term_check_left_guests", "Guests without an answer in the last night")
_libraries = Gauge("term_check_left_libraries", "Home libraries with guests without an answer")
_ended = Gauge("term_check_ended_timestamp_seconds", "When the last nightly run ended; 0 while it goes on")


async def measure_last_night(nights: Nights) -> None:
    """Bring the gauges up to date."""
    last = await nights.last()
    if last is None:
        return
    for outcome in Tally().as_dict():
        _guests.labels(outcome).set(sum(library.tally.as_dict()[outcome] for library in last.libraries))
    left = [library.left for library in last.libraries if library.left]
    _left.set(sum(left))
    _libraries.set(len(left))
    _ended.set(last.ended_at.timestamp() if last.ended_at else 0)
