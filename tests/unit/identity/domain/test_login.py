"""The steps of I4 that an account decides by itself."""

from __future__ import annotations

from identity.domain.login import Recognised, recognised_without_asking
from identity.domain.login_account import LoginAccount
from tests.support.scenario import Event, given
from tests.unit.identity.login_events import (
    HERE,
    HOME_ACTOR,
    OTHER_ACTOR,
    first_login,
    linked,
    opened,
    released,
)


def recognised(*past: Event[LoginAccount], at_home: bool = False) -> Recognised | None:
    return recognised_without_asking(given(opened(), *past).aggregate, HERE, at_home=at_home)


def test_i4_the_order_of_what_the_account_knows_by_itself() -> None:
    own = first_login(HERE, OTHER_ACTOR)
    late = linked(actor_id=OTHER_ACTOR, too_late=True)
    assert recognised() is None
    assert recognised(at_home=True) == Recognised(HOME_ACTOR, None)
    assert recognised(own, at_home=True) == Recognised(OTHER_ACTOR, None)
    guest = given(opened(), own, late).aggregate.guest_at(HERE)
    assert guest is not None
    assert recognised(own, late, at_home=True) == Recognised(OTHER_ACTOR, guest)


def test_i4_a_first_login_through_a_link_makes_no_actor_of_its_own() -> None:
    assert recognised(linked(), first_login(HERE, HOME_ACTOR, new_actor=False), released()) is None
