"""The views of registration."""

from registration.read_models import (
    contributions,
    desk_statistics,
    ended_guests,
    guest_directory,
    history,
    terms_due,
)

VIEWS = (
    guest_directory.VIEW,
    contributions.VIEW,
    history.VIEW,
    terms_due.VIEW,
    desk_statistics.VIEW,
    ended_guests.VIEW,
)
