"""Who may work now, who waits at the door, and who is refused."""

import asyncio

import pytest

from shared.platform import admission, limits
from shared.platform.admission import Door, Place, TooBusy, waiting_outside
from tests.support.eventually import eventually


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AT_THE_DOOR", 30.0)
    monkeypatch.setattr(limits, "AT_THE_DOOR_IN_A_FLOOD", 30.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(admission, "monotonic", lambda: now[0])
    return now


async def settled() -> None:
    """All tasks that can go on have gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_beyond_waits_for_a_place() -> None:
    door = Door(most_at_work=1, most_waiting=1)
    first = await door.enter("anna")
    second = asyncio.create_task(door.enter("bert"))
    await settled()
    assert not second.done()
    door.leave(first)
    door.leave(first)  # once more, when its answer has ended: it frees no second place
    place = await second
    third = asyncio.create_task(door.enter("carla"))
    await settled()
    assert not third.done()
    door.leave(place)
    door.leave(await third)


async def test_who_waits_too_long_is_refused_and_holds_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AT_THE_DOOR", 0.001)
    door = Door(most_at_work=1)
    first = await door.enter("anna")
    with pytest.raises(TooBusy):
        await door.enter("bert")
    door.leave(first)
    door.leave(await door.enter("bert"))


@pytest.mark.parametrize(("asked", "come_in"), [(2, [0, 1]), (3, [2]), (4, [2])])
async def test_when_too_many_wait_all_but_the_newest_are_refused_and_then_who_comes_later(
    asked: int, come_in: list[int]
) -> None:
    door = Door(most_at_work=1, most_waiting=2)
    first = await door.enter("anna")
    order: list[int] = []

    async def work(number: int) -> None:
        place = await door.enter("anna")
        order.append(number)
        door.leave(place)

    waiting = [asyncio.create_task(work(number)) for number in range(asked)]
    await settled()
    refused = [isinstance(task.exception(), TooBusy) for task in waiting if task.done()]
    assert refused == [True] * (asked - len(come_in)), "at once, although nobody has left"
    door.leave(first)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == come_in


async def flooded(door: Door, client: str) -> tuple[list[Place], asyncio.Task[Place]]:
    """All places of the door are this client's, and of the four that came then the newest one waits."""
    places = [await door.enter(client) for _ in range(6)]
    waiting = [asyncio.create_task(door.enter(client)) for _ in range(4)]
    await settled()
    refused = [task.done() and isinstance(task.exception(), TooBusy) for task in waiting]
    assert refused == [True, True, True, False]
    return places, waiting[-1]


async def test_in_a_flood_two_of_a_client_are_inside_one_waits_and_another_client_comes_in() -> None:
    door = Door(most_at_work=6, most_waiting=3)
    assert not door.refuses("flood")
    places, waiting = await flooded(door, "flood")
    assert door.refuses("flood")
    assert not door.refuses("other")
    with pytest.raises(TooBusy):
        await door.enter("flood")
    for _ in range(3):
        door.leave(places.pop())
    await settled()
    others = [await door.enter("other")]
    second = asyncio.create_task(door.enter("other"))
    await settled()
    assert not second.done(), "four are at work, so it waits as all do: it has a request inside"
    door.leave(places.pop())
    others.append(await second)
    await settled()
    assert not waiting.done(), "two of its own are inside still"
    door.leave(places.pop())
    place = await waiting
    for each in (*places, *others, place):
        door.leave(each)


async def test_in_a_flood_a_client_without_one_inside_comes_in_beyond_the_four_at_work() -> None:
    door = Door(most_at_work=6, most_waiting=3)
    places, waiting = await flooded(door, "flood")
    for _ in range(2):
        door.leave(places.pop())
    other = await door.enter("other")
    assert not waiting.done()
    for each in (*places, other):
        door.leave(each)
    door.leave(await waiting)


async def test_in_a_flood_those_that_wait_for_another_side_are_inside_too() -> None:
    door = Door(most_at_work=6, most_waiting=3)
    places, waiting = await flooded(door, "flood")
    for _ in range(4):
        door.leave(places.pop())
    await settled()
    for place in places:  # it waits for a home library
        place.outside = 1
        door._leave()
    await settled()
    assert not waiting.done(), "all six places are free, and two are inside"
    door.leave(places.pop())
    door.leave(await waiting)
    for place in places:
        door.leave(place)


async def test_when_a_flood_begins_the_newest_of_each_client_goes_on_waiting() -> None:
    door = Door(most_at_work=1, most_waiting=8)
    first = await door.enter("flood")
    order: list[tuple[str, int]] = []

    async def work(client: str, number: int) -> None:
        place = await door.enter(client)
        order.append((client, number))
        door.leave(place)

    who = [("flood", each) for each in range(5)] + [("group", each) for each in range(3)]
    wait = {(client, number): asyncio.create_task(work(client, number)) for client, number in who}
    await settled()
    assert not any(task.done() for task in wait.values())
    wait["other", 0] = asyncio.create_task(work("other", 0))
    await settled()
    refused = [who for who, task in wait.items() if task.done()]
    assert refused == [*(("flood", each) for each in range(4)), ("group", 0), ("group", 1)]
    door.leave(first)
    await asyncio.gather(*wait.values(), return_exceptions=True)
    assert order == [("flood", 4), ("group", 2), ("other", 0)]


async def test_a_flood_lasts_until_a_second_after_the_last_refusal(clock: list[float]) -> None:
    door = Door(most_at_work=6, most_waiting=3)
    places, waiting = await flooded(door, "flood")
    clock[0] += 0.9
    assert door.refuses("flood")
    clock[0] += 0.9
    assert door.refuses("flood"), "each refusal makes it last"
    clock[0] += 1.1
    assert not door.refuses("flood")
    door.leave(places.pop())
    places.append(await waiting)  # all six places are for everybody again
    for place in places:
        door.leave(place)


async def test_of_a_burst_six_begin_and_then_one_for_each_that_is_done(clock: list[float]) -> None:
    door = Door(most_at_work=16, most_waiting=32)
    burst = [asyncio.create_task(door.enter("counter")) for _ in range(30)]

    def begun() -> list[Place]:
        return [task.result() for task in burst if task.done()]

    await settled()
    assert len(begun()) == 6
    begun()[0].outside = 1  # it waits for a home library
    door._leave()
    await settled()
    assert len(begun()) == 6, "its place at work is free, and it has not been done"
    for done in range(1, 4):
        door.leave(begun()[done])
        await settled()
        assert len(begun()) == 6 + done
    for task in burst:
        task.cancel()
    await asyncio.gather(*burst, return_exceptions=True)


async def test_a_burst_is_let_in_by_and_by_although_nobody_is_done(clock: list[float]) -> None:
    """Fifty in a second: they wait for a slow home library, say, so there are places at work."""
    door = Door(most_at_work=16, most_waiting=32)
    burst = [asyncio.create_task(door.enter("counter")) for _ in range(20)]
    await settled()
    clock[0] += 0.11
    await eventually(lambda: sum(task.done() for task in burst) == 11)
    clock[0] += 10.0
    await eventually(lambda: sum(task.done() for task in burst) == 16)
    for task in burst:
        task.cancel()
    await asyncio.gather(*burst, return_exceptions=True)
    for task in burst[:16]:
        door.leave(task.result())
    again = [asyncio.create_task(door.enter("counter")) for _ in range(7)]
    await settled()
    assert [task.done() for task in again] == [True] * 6 + [False], "no more at once, however long ago"
    again[-1].cancel()
    other = await door.enter("other")
    for place in (*(task.result() for task in again[:-1]), other):
        door.leave(place)


async def test_who_gives_up_makes_room_for_one_more() -> None:
    door = Door(most_at_work=1, most_waiting=1)
    first = await door.enter("anna")
    second = asyncio.create_task(door.enter("anna"))
    await settled()
    second.cancel()  # it has not gone yet
    asyncio.get_running_loop().call_soon(door.leave, first)
    door.leave(await door.enter("anna"))
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_a_client_that_floods_gives_way_to_others_and_they_take_turns() -> None:
    door = Door(most_at_work=1, most_waiting=3)
    first = await door.enter("flood")
    order: list[str] = []

    async def work(client: str) -> None:
        place = await door.enter(client)
        order.append(client)
        door.leave(place)

    flood = [asyncio.create_task(work("flood")) for _ in range(3)]
    await settled()
    other = asyncio.create_task(work("other"))
    await settled()
    assert [isinstance(task.exception(), TooBusy) for task in flood if task.done()] == [True, True]
    door.leave(first)
    await asyncio.gather(other, *flood, return_exceptions=True)
    assert order == ["flood", "other"]


async def test_whoever_gives_up_leaves_the_place_to_the_next() -> None:
    door = Door(most_at_work=1)
    first = await door.enter("anna")
    second, third = (asyncio.create_task(door.enter(client)) for client in ("bert", "carla"))
    await settled()
    door.leave(first)  # bert's turn has come
    second.cancel()  # and he is gone in that moment
    with pytest.raises(asyncio.CancelledError):
        await second
    door.leave(await third)


async def test_a_place_is_free_while_its_request_waits_for_another_side() -> None:
    door = Door(most_at_work=1)
    back, inside = asyncio.Event(), asyncio.Event()

    async def asks_home() -> Place:
        place = await door.enter("anna")
        with waiting_outside(), waiting_outside():  # two tasks of one request may: it is one place
            await back.wait()
        inside.set()
        return place

    asking = asyncio.create_task(asks_home())
    await settled()
    meanwhile = await door.enter("bert")
    back.set()
    await inside.wait()  # it goes on at once
    door.leave(await asking)
    waiting = asyncio.create_task(door.enter("carla"))
    await settled()
    assert not waiting.done(), "bert is still at work"
    door.leave(meanwhile)
    door.leave(await waiting)


async def test_those_who_wait_for_another_side_are_not_without_number() -> None:
    door, back = Door(most_at_work=1, most_inside=2), asyncio.Event()

    async def asks_home(client: str) -> Place:
        place = await door.enter(client)
        with waiting_outside():
            await back.wait()
        return place

    asking = [asyncio.create_task(asks_home(client)) for client in ("anna", "bert")]
    await settled()
    third = asyncio.create_task(door.enter("carla"))
    await settled()
    assert not third.done()
    back.set()
    for each in asking:
        door.leave(await each)
    door.leave(await third)


async def test_a_client_that_stays_long_leaves_room_for_one_that_comes_later() -> None:
    door, back = Door(most_at_work=8, most_inside=8), asyncio.Event()
    asked = list[str]()

    async def asks_home(client: str) -> None:
        place = await door.enter(client)
        asked.append(client)
        with waiting_outside():
            await back.wait()
        door.leave(place)

    flood = [asyncio.create_task(asks_home("flood")) for _ in range(20)]
    await settled()
    assert asked == ["flood"] * 6, "three quarters of eight"
    late = asyncio.create_task(asks_home("late"))
    await settled()
    assert asked[6:] == ["late"], "those of the flood that wait have no place before it"
    back.set()
    await asyncio.gather(late, *flood, return_exceptions=True)
    assert asked.count("flood") > 6, "and they come in when there is room again"


async def test_outside_of_a_request_nothing_is_held() -> None:
    with waiting_outside():
        pass
