"""Both services together: what one commits, the other receives or asks about (I2 to I6, R21)."""

from dataclasses import replace
from uuid import UUID

import pytest

from identity.domain.errors import RefusalReason
from registration.application.follow_aliases import AliasFollower
from shared.kernel.errors import ConfigurationError
from shared.platform.leases import Leases
from tests.support.both_services import JAN, OTHER_CARD, PIET, BothServices, existing
from tests.support.registration_service import FRYSLAN, HOME, registering


async def test_i5_registered_and_logged_in_at_once_is_recognised_and_both_sides_agree(
    both_services: BothServices,
) -> None:
    guest = await both_services.registers(existing(JAN))
    answer = (await both_services.logs_in()).json()
    assert (answer["outcome"], answer["first_login"]) == ("recognised", True)
    assert answer["guest"] == {
        "guest_id": guest["guest_id"],
        "status": "valid",
        "ends_on": guest["term"]["end"],
    }
    events = await both_services.identity.topics()
    assert (await both_services.link_of(guest))["state"] == "linked"
    assert await both_services.identity.topics() == events


async def test_i5_while_registration_cannot_be_reached_nobody_becomes_a_new_actor(
    both_services: BothServices,
) -> None:
    await both_services.registers(existing(JAN))
    both_services.network.reachable = False
    async with both_services.identity.nothing_written():
        answer = await both_services.logs_in()
    assert (answer.status_code, answer.json()["code"]) == (503, "registration-unavailable")
    both_services.network.reachable = True
    assert (await both_services.logs_in()).json()["outcome"] == "recognised"


async def test_i2_a_new_account_is_opened_by_the_barrier_and_linked(both_services: BothServices) -> None:
    guest = await both_services.registers(
        {"choice": "new", "username": "jan.nieuw", "email": "jan@example.org"}
    )
    account_id = guest["login_link"]["account_id"]
    answer = await both_services.wisecat.post(
        "/v1/logins", json={"account_id": account_id, "organisation": "1001"}
    )
    assert answer.json()["guest"]["guest_id"] == guest["guest_id"]
    assert await both_services.link_of(guest) == {"state": "linked", "account_id": account_id, "reason": None}


@pytest.mark.parametrize("username", ["Jan.Jansen", "  ", '<b>x</b> "q"'])
async def test_r17_a_username_that_identity_would_refuse_is_refused_before_anything_is_written(
    both_services: BothServices, username: str
) -> None:
    choice = {"choice": "new", "username": username, "email": "x@example.org"}
    async with both_services.registration.nothing_written():
        answer = await both_services.clerk.post("/v1/guests", json=registering(login_account=choice))
    taken = (409, "username-taken")
    refused = taken if username == "Jan.Jansen" else (422, "malformed-request")
    assert (answer.status_code, answer.json()["code"]) == refused


async def test_i2_a_username_that_is_taken_at_the_same_moment_is_refused_by_identity(
    both_services: BothServices,
) -> None:
    guest = await both_services.registers({"choice": "new", "username": "snel", "email": "x@example.org"})
    faster = replace(JAN, account_id="acc-snel", username="snel")
    both_services.identity.directory.accounts.append(faster)
    link = await both_services.link_of(guest)
    assert (link["state"], link["reason"]) == ("refused", RefusalReason.USERNAME_TAKEN.value)


async def test_i2_a_refusal_reaches_registration_with_its_reason_and_can_be_asked_again(
    both_services: BothServices,
) -> None:
    guest = await both_services.registers({"choice": "existing", "account_id": "acc-nobody"})
    link = await both_services.link_of(guest)
    assert (link["state"], link["reason"]) == ("refused", RefusalReason.UNKNOWN_ACCOUNT.value)
    assert (await both_services.logs_in()).json()["code"] == "link-required"
    asked = await both_services.clerk.post(
        f"/v1/guests/{guest['guest_id']}/login-account", json=existing(JAN)
    )
    assert asked.status_code == 202
    assert (await both_services.link_of(guest))["state"] == "linked"


async def test_i3_an_account_in_use_is_refused_until_it_is_taken_off(both_services: BothServices) -> None:
    """A parent's account on a child (R21)."""
    child = await both_services.registers(existing(JAN, "het account van de vader"), OTHER_CARD)
    parent = await both_services.registers(existing(JAN))
    assert (await both_services.link_of(parent))["reason"] == "account-in-use"
    taken_off = await both_services.clerk.request(
        "DELETE", f"/v1/guests/{child['guest_id']}/login-account", json={"reason": "account van een ouder"}
    )
    assert taken_off.status_code == 202
    assert (await both_services.link_of(child))["state"] == "none"
    await both_services.clerk.post(f"/v1/guests/{parent['guest_id']}/login-account", json=existing(JAN))
    assert (await both_services.link_of(parent))["state"] == "linked"
    assert (await both_services.logs_in()).json()["guest"]["guest_id"] == parent["guest_id"]
    assert (await both_services.logs_in(PIET)).json()["code"] == "link-required"


async def test_r17_i2_registration_compares_the_account_with_what_identity_says_of_it(
    both_services: BothServices,
) -> None:
    frysk = replace(JAN, account_id="acc-frysk", username="frysk", home_isil=FRYSLAN)
    both_services.identity.directory.accounts.append(frysk)
    for choice, code in (
        (existing(frysk), "account-of-other-library"),
        (existing(PIET), "account-of-other-person"),
    ):
        async with both_services.registration.nothing_written():
            answer = await both_services.clerk.post("/v1/guests", json=registering(login_account=choice))
        assert (answer.status_code, answer.json()["code"]) == (409, code)
    query = {"username": "jan.jansen", "home_isil": HOME}
    found = (await both_services.clerk.get("/v1/login-accounts", params=query)).json()["account"]
    handle = {"choice": "existing", "account_handle": found["account_handle"]}
    assert (await both_services.link_of(await both_services.registers(handle)))["state"] == "linked"


async def test_r17_i2_identity_refuses_an_account_of_another_library_that_registration_let_through(
    both_services: BothServices,
) -> None:
    """As a registration of the release before does, which compares nothing."""
    frysk = replace(PIET, account_id="acc-frysk", username="frysk", home_isil=FRYSLAN)
    guest = await both_services.registers(existing(frysk))  # identity does not know it yet
    both_services.identity.directory.accounts.append(frysk)
    assert await both_services.link_of(guest) == {
        "state": "refused",
        "account_id": "acc-frysk",
        "reason": "other-home-library",
    }


async def test_i6_too_late_is_shown_and_logins_go_on(both_services: BothServices) -> None:
    first = (await both_services.logs_in()).json()
    guest = await both_services.registers(existing(JAN))
    assert (await both_services.link_of(guest))["state"] == "too_late"
    answer = (await both_services.logs_in()).json()
    assert (answer["outcome"], answer["actor_id"]) == ("recognised", first["actor_id"])
    assert UUID(answer["guest"]["guest_id"]) == UUID(guest["guest_id"])


async def test_r21_a_deregistered_card_registered_afresh_is_linked_again(both_services: BothServices) -> None:
    guest = await both_services.registers(existing(JAN))
    actor = (await both_services.logs_in()).json()["actor_id"]
    gone = await both_services.clerk.post(
        f"/v1/guests/{guest['guest_id']}/deregistration", json={"reason": "vergissing"}
    )
    assert gone.status_code == 200
    await both_services.deliver_all()
    answer = (await both_services.logs_in()).json()
    assert (answer["outcome"], answer["actor_id"], answer["guest"]) == ("recognised", actor, None)

    afresh = await both_services.registers(existing(JAN))
    assert afresh["guest_id"] == guest["guest_id"]
    assert (await both_services.link_of(guest))["state"] == "linked"
    assert (await both_services.logs_in()).json()["actor_id"] == actor


async def test_i3_r26_a_linked_account_is_named_and_finds_its_guest_by_its_username(
    both_services: BothServices,
) -> None:
    """The account was never opened by registration: its username is only identity's."""
    guest = await both_services.registers(existing(JAN))
    assert (await both_services.link_of(guest))["state"] == "linked"
    await both_services.catch_up_views()
    query = {"query": JAN.username.upper()}
    page = (await both_services.clerk.get("/v1/guests", params=query)).json()
    assert [found["guest_id"] for found in page["guests"]] == [guest["guest_id"]]
    assert page["login_accounts"] == "searched"
    accounts = both_services.registration.service.deps.login_accounts
    jan, nobody = await accounts.names([JAN.account_id, "acc-nobody"])
    assert (jan.state, jan.username, jan.email) == ("found", JAN.username, JAN.email)
    assert nobody.state == "unknown"
    await both_services.erases(guest)
    await both_services.deliver_all()
    await both_services.catch_up_views()
    page = (await both_services.clerk.get("/v1/guests", params=query)).json()
    assert (page["guests"], page["login_accounts"]) == ([], "searched"), "R19"


async def test_i10_libraries_that_merge_by_a_reload_are_followed_before_logins_go_on(
    both_services: BothServices,
) -> None:
    """The login of a member of the merged library is *try again* until the index has followed (I4)."""
    service = both_services.registration.service
    guest = await both_services.registers(existing(JAN))
    await both_services.deliver_all()
    fryslan_account = replace(JAN, account_id="acc-frysk", username="frysk", home_isil=FRYSLAN)
    both_services.identity.directory.accounts.append(fryslan_account)
    libraries = service.settings.home_libraries
    table = f'[libraries.{FRYSLAN}]\nhost = "127.0.0.1"\nport = 1\naliases = ["{HOME}"]\n'
    libraries.write_text(table, "utf-8")
    assert dict(service.deps.isil_aliases) == {}, "nothing counts before it was asked for"

    service.live.take(service.live.read())
    assert dict(service.deps.isil_aliases) == {HOME: FRYSLAN}
    assert dict(service.deps.home_library_names) == {FRYSLAN: ""}
    tried = await both_services.logs_in(fryslan_account)
    assert (tried.status_code, tried.json()["code"]) == (503, "registration-unavailable")
    await AliasFollower(service.deps, Leases(service.pool)).run()
    answer = await both_services.logs_in(fryslan_account)
    assert answer.json()["code"] == "link-required", "the guest is known under the new ISIL, and linked"
    assert (await both_services.logs_in()).json()["guest"]["guest_id"] == guest["guest_id"]

    libraries.write_text(table + "aliases = [", "utf-8")
    with pytest.raises(ConfigurationError, match=f"{libraries}:"):
        service.live.read()
    assert dict(service.deps.isil_aliases) == {HOME: FRYSLAN}


async def test_i4_an_own_library_counts_at_identity_once_its_file_was_reloaded(
    both_services: BothServices,
) -> None:
    service = both_services.identity.service
    frysk = replace(JAN, account_id="acc-frysk", username="frysk", home_isil=FRYSLAN)
    assert not service.deps.organisations.is_home_of("1001", FRYSLAN)
    text = service.settings.organisations.read_text("utf-8")
    service.settings.organisations.write_text(
        text.replace("isils = [", f'isils = ["{FRYSLAN}", ', 1), "utf-8"
    )
    service.live.take(service.live.read())
    both_services.identity.directory.accounts.append(frysk)
    assert service.deps.organisations.is_home_of("1001", FRYSLAN)
    assert (await both_services.logs_in(frysk)).json()["outcome"] == "recognised"
