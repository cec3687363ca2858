"""Both services together: what one commits, the other hears of or asks about (I2 to I6, R21)."""

from typing import Any
from uuid import UUID

import pytest

from identity.domain.errors import RefusalReason
from tests.support.both_services import JAN, OTHER_CARD, PIET, Pair, existing


async def test_i5_registered_and_logged_in_at_once_is_recognised_and_both_sides_agree(pair: Pair) -> None:
    guest = await pair.registers(existing(JAN))
    answer = (await pair.logs_in()).json()
    assert (answer["outcome"], answer["first_login"]) == ("recognised", True)
    assert answer["guest"] == {
        "guest_id": guest["guest_id"],
        "status": "valid",
        "ends_on": guest["term"]["end"],
    }
    events = await pair.identity.topics()
    assert (await pair.link_of(guest))["state"] == "linked"
    assert await pair.identity.topics() == events


async def test_i5_while_registration_cannot_be_reached_nobody_becomes_a_new_actor(pair: Pair) -> None:
    await pair.registers(existing(JAN))
    pair.switch.reachable = False
    async with pair.identity.nothing_written():
        answer = await pair.logs_in()
    assert (answer.status_code, answer.json()["code"]) == (503, "registration-unavailable")
    pair.switch.reachable = True
    assert (await pair.logs_in()).json()["outcome"] == "recognised"


async def test_i2_a_new_account_is_opened_by_the_barrier_and_linked(pair: Pair) -> None:
    guest = await pair.registers({"choice": "new", "username": "jan.nieuw", "email": "jan@example.org"})
    account_id = guest["login_link"]["account_id"]
    answer = await pair.wisecat.post("/v1/logins", json={"account_id": account_id, "organisation": "1001"})
    assert answer.json()["guest"]["guest_id"] == guest["guest_id"]
    assert await pair.link_of(guest) == {"state": "linked", "account_id": account_id, "reason": None}


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"choice": "existing", "account_id": "acc-nobody"}, RefusalReason.UNKNOWN_ACCOUNT),
        (
            {"choice": "new", "username": "Jan.Jansen", "email": "x@example.org"},
            RefusalReason.USERNAME_TAKEN,
        ),
        ({"choice": "new", "username": "  ", "email": "x@example.org"}, RefusalReason.MALFORMED_USERNAME),
    ],
)
async def test_i2_a_refusal_reaches_registration_with_its_reason_and_can_be_asked_again(
    pair: Pair, choice: dict[str, Any], reason: RefusalReason
) -> None:
    guest = await pair.registers(choice)
    link = await pair.link_of(guest)
    assert (link["state"], link["reason"]) == ("refused", reason.value)
    assert (await pair.logs_in()).json()["code"] == "link-required"
    asked = await pair.clerk.post(f"/v1/guests/{guest['guest_id']}/login-account", json=existing(JAN))
    assert asked.status_code == 202
    assert (await pair.link_of(guest))["state"] == "linked"


async def test_i3_an_account_in_use_is_refused_until_it_is_taken_off(pair: Pair) -> None:
    """A parent's account on a child (R21)."""
    child = await pair.registers(existing(JAN), OTHER_CARD)
    parent = await pair.registers(existing(JAN))
    assert (await pair.link_of(parent))["reason"] == "account-in-use"
    taken_off = await pair.clerk.request(
        "DELETE", f"/v1/guests/{child['guest_id']}/login-account", json={"reason": "account van een ouder"}
    )
    assert taken_off.status_code == 202
    assert (await pair.link_of(child))["state"] == "none"
    await pair.clerk.post(f"/v1/guests/{parent['guest_id']}/login-account", json=existing(JAN))
    assert (await pair.link_of(parent))["state"] == "linked"
    assert (await pair.logs_in()).json()["guest"]["guest_id"] == parent["guest_id"]
    assert (await pair.logs_in(PIET)).json()["code"] == "link-required"


async def test_i6_too_late_is_told_and_logins_go_on(pair: Pair) -> None:
    first = (await pair.logs_in()).json()
    guest = await pair.registers(existing(JAN))
    assert (await pair.link_of(guest))["state"] == "too_late"
    answer = (await pair.logs_in()).json()
    assert (answer["outcome"], answer["actor_id"]) == ("recognised", first["actor_id"])
    assert UUID(answer["guest"]["guest_id"]) == UUID(guest["guest_id"])


async def test_r21_a_deregistered_card_registered_afresh_is_linked_again(pair: Pair) -> None:
    guest = await pair.registers(existing(JAN))
    actor = (await pair.logs_in()).json()["actor_id"]
    gone = await pair.clerk.post(
        f"/v1/guests/{guest['guest_id']}/deregistration", json={"reason": "vergissing"}
    )
    assert gone.status_code == 200
    await pair.sweep()
    answer = (await pair.logs_in()).json()
    assert (answer["outcome"], answer["actor_id"], answer["guest"]) == ("recognised", actor, None)

    afresh = await pair.registers(existing(JAN))
    assert afresh["guest_id"] == guest["guest_id"]
    assert (await pair.link_of(guest))["state"] == "linked"
    assert (await pair.logs_in()).json()["actor_id"] == actor
