"""Days and moments in Europe/Amsterdam, the time zone of all rules (R6)."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def day_of(moment: datetime) -> date:
    """Return the day in Amsterdam at `moment`, which must have a time zone."""
    return moment.astimezone(AMSTERDAM).date()


def today() -> date:
    """Return today in Amsterdam, by the machine's clock."""
    return day_of(datetime.now(UTC))


def moment_of(day: date, wall_time: time) -> datetime:
    """Return the moment, in UTC, at which clocks in Amsterdam show `wall_time` on `day`.

    A time that occurs twice (the end of summer time) means its first occurrence; a time that is skipped
    (the start of summer time) means one hour later on the clock. There is always exactly one moment.
    """
    return datetime.combine(day, wall_time, AMSTERDAM).astimezone(UTC)
