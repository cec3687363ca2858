"""What a scanned card leads to: a guest, or the libraries that it may be of (R2, R10)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registration.application.register_guest import Prepared, prepare_registration
from registration.application.scan_card import Reading, scan_card
from registration.domain.errors import AlreadyRegistered, Candidate
from tests.support.registration import CARD, GRONINGEN, RegistrationUseCases, member

FRYSLAN = Candidate("NL-083424", "Fryslân", "F")
HOME = Candidate(GRONINGEN, "Groningen", "GR")
PREFIX = CARD[1:5]


async def test_r2_a_prefix_of_several_libraries_is_shared_and_each_reading_is_kept_apart(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.prefixes.by_prefix = {PREFIX: [HOME, FRYSLAN], CARD[:4]: [FRYSLAN]}
    scanned = await scan_card(f" {CARD}", "1001", in_memory_registration.deps)
    shared, single = Reading(PREFIX, (HOME, FRYSLAN)), Reading(CARD[:4], (FRYSLAN,))
    assert (scanned.card_number, scanned.readings) == (CARD, [shared, single])
    assert (shared.is_shared, single.is_shared) == (True, False)
    assert scanned.isils == (GRONINGEN, "NL-083424")


async def test_r2_r3_locations_and_merged_libraries_are_one_library(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.prefixes.by_prefix = {
        PREFIX: [HOME, replace(HOME, isil="NL-070299")],
        CARD[:4]: [replace(HOME, isil=f"{GRONINGEN}0001")],
    }
    scanned = await scan_card(CARD, "1001", in_memory_registration.deps)
    assert [reading.is_shared for reading in scanned.readings] == [False, False]
    assert len(scanned.isils) == 1


async def test_r10_a_known_card_finds_its_guest_at_its_own_organisation_only(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.prefixes.by_prefix = {PREFIX: [HOME, FRYSLAN]}
    guest_id = await in_memory_registration.register()
    assert (await scan_card(CARD, "1001", in_memory_registration.deps)).guests == (guest_id,)
    assert (await scan_card(CARD, "2002", in_memory_registration.deps)).guests == ()
    with pytest.raises(AlreadyRegistered):
        await prepare_registration(
            CARD, GRONINGEN, in_memory_registration.context(), in_memory_registration.deps
        )


async def test_r21_the_card_of_a_deregistered_guest_begins_a_registration(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.prefixes.by_prefix = {PREFIX: [HOME]}
    await in_memory_registration.deregister(await in_memory_registration.register())
    assert (await scan_card(CARD, "1001", in_memory_registration.deps)).guests == ()
    prepared = await prepare_registration(
        CARD, GRONINGEN, in_memory_registration.context(), in_memory_registration.deps
    )
    assert prepared == Prepared(member(), [])
