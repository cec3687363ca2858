"""Why two guests cannot be made one (R18); each is told like any other broken rule."""

from __future__ import annotations

from registration.domain.errors import RuleBroken


class MergeBlocked(RuleBroken):
    """These two guests cannot be merged.

    R18. `reason`: for programs.
    """

    reason = "blocked"


class DifferentBirthDates(MergeBlocked):
    """These two were not born on the same day: they are not one person.

    R18.
    """

    reason = "different-birth-dates"


class NothingEqual(MergeBlocked):
    """Nothing shows that these two are one person: neither home card, nor surname, birth date and address.

    R18.
    """

    reason = "nothing-equal"


class MergedWithItself(MergeBlocked):
    """These are one and the same record.

    R18.
    """

    reason = "same-guest"


class MergedBefore(MergeBlocked):
    """This record was merged into another one before.

    R18.
    """

    reason = "merged-before"


class MergedIntoSignpost(MergeBlocked):
    """The other record was itself merged into another one: merge into that one.

    R18.
    """

    reason = "into-signpost"


class MergedIntoDeregistered(MergeBlocked):
    """The other record was deregistered: merge it into this one instead.

    R18, R21.
    """

    reason = "into-deregistered"


class MergedWithErased(MergeBlocked):
    """The personal data of one of these two was destroyed: nothing shows any more that they are one person.

    R18, R19.
    """

    reason = "erased"
