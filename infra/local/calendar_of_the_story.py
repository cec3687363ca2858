"""What the story expects of dates, worked out apart from the product, so that a slip there shows here."""

import calendar
from datetime import date, timedelta

MONTHS = [
    "Januari",
    "Februari",
    "Maart",
    "April",
    "Mei",
    "Juni",
    "Juli",
    "Augustus",
    "September",
    "Oktober",
    "November",
    "December",
]


def three_months_after(day: date) -> date:
    """R6: three calendar months later, the month's last day when it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + 3, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def last_of_the_month(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def header_of(end: date) -> str:
    """R16: the month of the row's end date."""
    return f"Normaal {MONTHS[end.month - 1]} {end.year}"


def rows_after_expiry(today: date) -> list[tuple[str, str, str]]:
    """R15, registered and expired on the same day: the expiry's row keeps the end, the first one is empty."""
    return [
        (today.isoformat(), three_months_after(today).isoformat(), "Ongeldig"),
        (today.isoformat(), _eve(today), "Normaal"),
    ]


def rows_after_reregistration(today: date) -> list[tuple[str, str, str]]:
    """R15, registered again on that day too: a new row from today, the Ongeldig one closed the day before."""
    return [
        (today.isoformat(), three_months_after(today).isoformat(), "Normaal"),
        (today.isoformat(), _eve(today), "Ongeldig"),
        (today.isoformat(), _eve(today), "Normaal"),
    ]


def _eve(day: date) -> str:
    return (day - timedelta(days=1)).isoformat()
