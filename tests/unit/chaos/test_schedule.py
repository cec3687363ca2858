"""The faults of a run: the same for the same seed, of every kind, on every target."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.run import longest
from tests.chaos.schedule import LASTING, OF_THE_BROKER, TARGETS, Kind, schedule


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_makes_the_same_faults_and_another_one_others(seed: int) -> None:
    assert schedule(seed, 200, 50_000) == schedule(seed, 200, 50_000)
    assert schedule(seed, 200, 50_000) != schedule(seed + 1, 200, 50_000)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_happens_as_often_as_any_other_and_meets_each_of_its_targets(seed: int) -> None:
    faults = schedule(seed, 200, 50_000)
    assert [fault.number for fault in faults] == list(range(1, 201))
    times = Counter(fault.kind for fault in faults)
    assert set(times) == set(Kind) == set(FAULTS)
    assert max(times.values()) - min(times.values()) <= 1
    for kind, targets in TARGETS.items():
        assert {fault.target for fault in faults if fault.kind is kind} == set(targets)


@pytest.mark.parametrize("seed", range(20))
def test_they_are_spread_over_the_registrations_in_order_and_some_come_together(seed: int) -> None:
    faults = schedule(seed, 200, 50_000)
    begins = [(fault.at, fault.after) for fault in faults]
    assert begins == sorted(begins)
    assert 0 < begins[0][0] < 500
    assert 49_000 < begins[-1][0] <= 50_000
    together = sum(fault.after > 0 for fault in faults)
    assert 20 < together < 90
    for fault in faults:
        least, most = LASTING.get(fault.kind, (0.0, 0.0))
        assert least <= fault.lasting <= most


def test_a_stack_without_a_broker_has_no_faults_of_the_broker() -> None:
    kinds = {fault.kind for fault in schedule(1, 60, 1000, broker=False)}
    assert kinds == set(Kind) - OF_THE_BROKER


def test_a_fault_is_felt_as_the_longest_time_without_a_success_that_it_was_part_of() -> None:
    times = [0.0, 0.1, 0.2, 3.2, 3.3, 9.0, 9.1]
    assert longest(times, 0.15, 0.15) == pytest.approx(0.1)
    assert longest(times, 1.0, 1.0) == pytest.approx(3.0)
    assert longest(times, 0.15, 3.25) == pytest.approx(3.0)
    assert longest(times, 3.25, 4.0) == pytest.approx(5.7)
    assert longest([], 0.0, 1.0) == 0.0
