"""Messages over webhooks: signed, in the order of each guest, never lost, whatever a receiver does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import asyncpg
import httpx2
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from shared.messaging import metrics, webhook_sender, webhooks
from shared.messaging.envelope import Message
from shared.messaging.errors import NotParked
from shared.messaging.webhook_sender import Failure, WebhookSender
from shared.messaging.webhook_state import NoSuchReceiver, WaitingSubject, back_off
from shared.platform import limits
from shared.platform.leases import Leases
from tests.integration.webhooks.conftest import (
    LOOPBACK,
    OK,
    DocumentedReceiver,
    Got,
    Hooked,
    new_secret,
    scripted,
)
from tests.support.eventually import eventually
from tests.support.hostile_http import Answer, hostile_peer


def answered(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", "Content-Length: 0", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def subject_of(got: Got) -> str:
    return str(json.loads(got.body)["subject"])


async def test_the_documented_receiver_verifies_and_gets_every_message_once_and_in_order(
    hooked: Hooked, documented: DocumentedReceiver
) -> None:
    before = await hooked.registers()
    hooked.at(documented.port, f'secret_file = "{documented.secret_file}"\nstart = "beginning"')
    async with hooked.delivering():
        guests = [before] + [await hooked.registers() for _ in range(3)]
        for language in ("en", "nl", "en"):
            await asyncio.gather(*(hooked.changes(guest, language) for guest in guests))
        sent = await hooked.log_messages()
        await eventually(lambda: len(documented.received()) == len(sent))
        received = documented.received()
        assert {row[0] for row in received} == {str(message.id) for message in sent}
        for guest in guests:
            versions = [version for _, of_guest, version, _ in received if of_guest == str(guest)]
            assert versions == sorted(versions)
        # It goes away and comes back: what happened meanwhile arrives, in order.
        documented.stop()
        for language in ("nl", "en"):
            await asyncio.gather(*(hooked.changes(guest, language) for guest in guests))
        await eventually(lambda: failing(hooked))
        assert (await hooked.one()).parked == 0
        documented.start()
        sent = await hooked.log_messages()
        await eventually(lambda: len(documented.received()) == len(sent), within=20)
        for guest in guests:
            versions = [row[2] for row in documented.received() if row[1] == str(guest)]
            assert versions == sorted(versions)
        # The receiver has a message a moment before the sender knows that it has.
        await eventually(lambda: at_the_end(hooked, "one"))
    state = await hooked.one()
    assert (state.waiting, state.parked, state.failing_since) == (0, 0, None)
    async with httpx2.AsyncClient() as http:
        forged = await http.post(f"http://127.0.0.1:{documented.port}/", content=sent[0].to_json())
        assert forged.status_code == 401


async def failing(hooked: Hooked) -> bool:
    return (await hooked.one()).failing_since is not None


async def test_the_body_is_the_message_of_the_feed_and_two_secrets_sign_while_one_is_replaced(
    hooked: Hooked,
) -> None:
    old, new = new_secret(), new_secret()
    (hooked.folder / "one.secret").write_text(f"{new}\n{old}\n")
    async with scripted() as receiver, hooked.delivering():
        hooked.at(receiver.port, 'start = "beginning"')
        await hooked.registers()
        messages = await hooked.log_messages()
        await eventually(lambda: len(receiver.got) == len(messages))
        got = receiver.got[0]
        assert got.body == messages[0].to_json()
        assert got.headers["content-type"] == "application/cloudevents+json"
        assert got.headers["webhook-id"] == str(messages[0].id)
        for secret in (old, new):
            assert Webhook(secret).verify(got.body, got.headers)["subject"] == str(messages[0].subject)
        with pytest.raises(WebhookVerificationError):
            Webhook(new_secret()).verify(got.body, got.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(new).verify(got.body.replace(b"guest", b"gUest"), got.headers)
        # A reload takes the secret that was replaced.
        (hooked.folder / "one.secret").write_text(new)
        hooked.at(receiver.port, 'start = "beginning"')
        await hooked.registers()
        sent = len(await hooked.log_messages())
        await eventually(lambda: len(receiver.got) == sent)
        last = receiver.got[-1]
        Webhook(new).verify(last.body, last.headers)
        assert len(last.headers["webhook-signature"].split()) in (1, 2)


async def test_only_the_types_and_organisations_that_a_receiver_wants(hooked: Hooked) -> None:
    async with scripted() as all_of_one, scripted() as registrations, hooked.delivering():
        more = 'start = "beginning"\n'
        hooked.receivers(
            a=hooked.table(all_of_one.port, more + 'organisations = ["2002"]'),
            b=hooked.table(registrations.port, more + 'types = ["guest-registered.v1"]'),
        )
        ours, theirs = await hooked.registers(), await hooked.registers("2002")
        await hooked.changes(ours, "en")
        sent = await hooked.log_messages()
        await eventually(lambda: at_the_end(hooked, "a", "b"))
        wanted = [str(message.id) for message in sent if message.subject == theirs]
        assert [got.headers["webhook-id"] for got in all_of_one.got] == wanted
        registered = [str(message.id) for message in sent if message.type == "guest-registered.v1"]
        assert sorted(got.headers["webhook-id"] for got in registrations.got) == sorted(registered)


async def at_the_end(hooked: Hooked, *names: str) -> bool:
    found = {state.name: state for state in await hooked.state.receivers()}
    return all(name in found and found[name].lag == 0 and not found[name].waiting for name in names)


async def test_a_new_receiver_begins_at_the_end_of_the_log(hooked: Hooked) -> None:
    await hooked.registers()
    async with scripted() as receiver, hooked.delivering():
        hooked.at(receiver.port)
        await eventually(lambda: at_the_end(hooked, "one"))
        later = await hooked.registers()
        await eventually(lambda: receiver.got)
        assert {subject_of(got) for got in receiver.got} == {str(later)}


async def test_a_message_that_fails_is_parked_with_the_later_ones_of_its_guest_and_nobody_else_waits(
    hooked: Hooked,
) -> None:
    unlucky = await hooked.registers()
    broken = True

    def reply(got: Got) -> bytes:
        return answered(422) if broken and subject_of(got) == str(unlucky) else OK

    async with scripted(reply) as receiver, hooked.delivering():
        hooked.at(receiver.port, 'start = "beginning"\npark_after_minutes = 0')
        await hooked.changes(unlucky, "en")
        lucky = [await hooked.registers() for _ in range(3)]
        parked = await eventually_parked(hooked)
        assert (parked.subject, parked.version, parked.refused) == (unlucky, 1, True)
        assert parked.reason == "it answered 422"
        await hooked.changes(lucky[0], "en")
        await hooked.changes(unlucky, "nl")
        await eventually(lambda: {subject_of(got) for got in receiver.got} >= {str(guest) for guest in lucky})
        await eventually(lambda: lag_of_none(hooked))
        ids = [got.headers["webhook-id"] for got in receiver.got if subject_of(got) == str(unlucky)]
        assert len(set(ids)) == 1, "no later message overtakes the one that fails"

        # Skipped with a reason: it failed for good, the later ones are tried.
        assert await hooked.state.skip("one", unlucky, "the catalogue cannot store it", "femke") == 1
        assert (await eventually_parked(hooked)).version == 2
        broken = False
        await hooked.state.retry("one", unlucky, "femke")
        await eventually(lambda: at_the_end(hooked, "one"))
    versions = [
        json.loads(got.body)["streamversion"] for got in receiver.got if subject_of(got) == str(unlucky)
    ]
    assert versions == sorted(versions)
    taken = sorted(set(versions))
    of_log = [message.stream_version for message in await hooked.log_messages() if message.subject == unlucky]
    assert taken == of_log
    [row] = await hooked.app.service.pool.fetch("SELECT version, reason, skipped_by FROM webhook_skips")
    assert tuple(row) == (1, "the catalogue cannot store it", "femke")
    with pytest.raises(NotParked):
        await hooked.state.retry("one", unlucky, "femke")


async def eventually_parked(hooked: Hooked) -> WaitingSubject:
    found = await eventually(lambda: parked_of(hooked))
    assert found is not None
    return found


async def parked_of(hooked: Hooked) -> WaitingSubject | None:
    found = await hooked.state.waiting("one", 10)
    return next((waiting for waiting in found if waiting.state == "parked"), None)


async def lag_of_none(hooked: Hooked) -> bool:
    return (await hooked.one()).lag == 0


async def test_410_stops_a_receiver_until_an_operator_resumes_and_nothing_is_lost(hooked: Hooked) -> None:
    gone = True
    async with scripted(lambda _: answered(410) if gone else OK) as receiver, hooked.delivering():
        hooked.at(receiver.port, 'start = "beginning"')
        await hooked.registers()
        await eventually(lambda: stopped(hooked))
        asked = len(receiver.got)
        await hooked.registers()
        assert asked <= webhook_sender.AT_ONCE
        assert len(receiver.got) == asked
        gone = False
        with pytest.raises(NoSuchReceiver):
            await hooked.state.resume("nobody", "femke")
        await hooked.state.resume("one", "femke")
        await eventually(lambda: at_the_end(hooked, "one"))
        sent = {str(message.id) for message in await hooked.log_messages()}
        assert {got.headers["webhook-id"] for got in receiver.got} == sent


async def stopped(hooked: Hooked) -> bool:
    states = await hooked.state.receivers()
    return any(state.stopped_at is not None for state in states)


async def test_a_crash_between_message_and_checkpoint_sends_it_again_with_the_same_id(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> bool:
        raise asyncpg.ConnectionDoesNotExistError

    async with scripted() as receiver:
        hooked.at(receiver.port, 'start = "beginning"')
        guest = await hooked.registers()
        with monkeypatch.context() as broken:
            first = Leases.move_checkpoint

            async def only_the_beginning(self: Leases, lease: object, position: int) -> bool:
                return await (first if position == 0 else crash)(self, lease, position)  # type: ignore[arg-type]

            broken.setattr(Leases, "move_checkpoint", only_the_beginning)
            async with hooked.delivering():
                await eventually(lambda: receiver.got)
        async with hooked.delivering():
            await eventually(lambda: at_the_end(hooked, "one"))
    ids = [got.headers["webhook-id"] for got in receiver.got if subject_of(got) == str(guest)]
    assert len(ids) > len(set(ids)), "sent again"
    assert set(ids) == {str(message.id) for message in await hooked.log_messages()}


async def test_a_slow_receiver_holds_up_no_other(hooked: Hooked) -> None:
    async with scripted(lambda _: None) as silent, scripted() as quick, hooked.delivering():
        more = 'start = "beginning"'
        hooked.receivers(silent=hooked.table(silent.port, more), quick=hooked.table(quick.port, more))
        for _ in range(5):
            await hooked.registers()
        sent = len(await hooked.log_messages())
        await eventually(lambda: len(quick.got) == sent)
        await eventually(lambda: silent.got)
        assert (await hooked.one("silent")).lag


CHARSET = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=ebcdic-nowhere\r\n"
CHARSET += b"Content-Length: 4\r\n\r\n\xff\xfe\xfd\xfc"


def wrong_charset(_path: str) -> Iterator[bytes]:
    yield CHARSET


def wrong_type(_path: str) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/x-what\r\nContent-Length: 2\r\n\r\n\x00\x01"


@pytest.mark.parametrize("answer", [wrong_charset, wrong_type])
async def test_only_the_status_of_an_answer_counts(hooked: Hooked, answer: Answer) -> None:
    async with hostile_peer(answer) as peer:
        assert await sent_to(hooked, peer.url) is None


async def test_a_redirect_is_not_followed(hooked: Hooked) -> None:
    async with scripted() as elsewhere:
        away = answered(307, f"Location: http://127.0.0.1:{elsewhere.port}/")
        async with scripted(lambda _: away) as receiver:
            failure = await sent_to(hooked, f"http://127.0.0.1:{receiver.port}/")
        assert failure is not None
        assert failure.reason == "it answered 307: redirects are not followed"
        assert elsewhere.got == []


async def sent_to(hooked: Hooked, url: str) -> Failure | None:
    hooked.receivers(one=f'url = "{url}"\nsecret_file = "{{secret}}"\n{LOOPBACK}')
    receiver = hooked.app.service.live.now.value.receivers["one"]
    await hooked.registers()
    message: Message = (await hooked.log_messages())[0]
    async with WebhookSender(receiver) as sender:
        return await sender.send(message)


async def test_an_address_that_is_not_public_is_refused_at_the_connection(hooked: Hooked) -> None:
    async with scripted() as receiver, hooked.delivering():
        hooked.receivers(
            one=f'url = "http://localhost:{receiver.port}/"\nsecret_file = "{{secret}}"\nplain_http = true\n'
            'start = "beginning"'
        )
        await hooked.registers()
        await eventually(lambda: failing(hooked))
        state = await hooked.one()
        assert state.failure is not None
        assert "is not a public address" in state.failure
        assert receiver.got == []


async def test_a_name_that_leads_elsewhere_a_moment_later_changes_nothing(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the checked address is the one that is connected to."""
    loop, asked = asyncio.get_running_loop(), []

    async def getaddrinfo(host: str, port: int, **more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        address = "203.0.114.9" if len(asked) == 1 else "127.0.0.1"
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr(limits, "WEBHOOK", 0.3)
    async with scripted() as receiver:
        url = f"http://rebinding.example:{receiver.port}/"
        hooked.receivers(one=f'url = "{url}"\nsecret_file = "{{secret}}"\nplain_http = true')
        await hooked.registers()
        message = (await hooked.log_messages())[0]
        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        async with WebhookSender(hooked.app.service.live.now.value.receivers["one"]) as sender:
            first, second = await sender.send(message), await sender.send(message)
        assert first is not None
        assert second is not None
        assert "127.0.0.1 is not a public address" in second.reason
        assert receiver.got == []


async def test_retry_after_is_followed_within_bounds() -> None:
    for text, low, high in (
        ("7", 7, 7),
        ("999999999", 3600, 3600),
        (format_datetime(datetime.now(UTC) + timedelta(seconds=60)), 55, 61),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 3600, 3600),
        ("Sat, 01 Jan 0000 00:00:00 GMT", 0, 1.5),
        (f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT", 0, 1.5),
        (f"Fri, 31 Dec 2027 23:59:59 +{'9' * 20}", 0, 1.5),
        ("soon", 0, 1.5),
        ("-5", 0, 1.5),
    ):
        answer = httpx2.Response(503, headers={"retry-after": text})
        failure = webhook_sender._failure(answer)
        assert failure is not None
        assert low <= back_off(1, failure) <= high, text
    pauses = [back_off(attempt, Failure("x")) for attempt in range(1, 40)]
    assert pauses[0] < 2
    assert 200 < max(pauses) < 400
    assert len({back_off(30, Failure("x")) for _ in range(20)}) > 10, "with jitter"


async def test_a_receiver_that_is_down_parks_nobody(hooked: Hooked) -> None:
    async with scripted(lambda _: answered(500)) as receiver, hooked.delivering():
        hooked.at(receiver.port, 'start = "beginning"\npark_after_minutes = 0')
        for _ in range(20):
            await hooked.registers()
        await eventually(lambda: many_attempts(hooked))
        state = await hooked.one()
        assert state.parked == 0
        assert state.waiting <= webhooks.MOST_FAILING + webhook_sender.AT_ONCE
        assert state.lag


async def many_attempts(hooked: Hooked) -> bool:
    found = await hooked.state.waiting("one", 100)
    return any(waiting.attempts > 3 for waiting in found)


async def test_many_messages_that_fail_do_not_make_a_receiver_that_works_count_as_down(
    hooked: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "PROBE_SECONDS", 0.1)
    unlucky = [str(await hooked.registers()) for _ in range(webhooks.MOST_FAILING + 3)]

    def reply(got: Got) -> bytes:
        return answered(500) if subject_of(got) in unlucky else OK

    async with scripted(reply) as receiver, hooked.delivering():
        hooked.at(receiver.port, 'start = "beginning"\npark_after_minutes = 0')
        await eventually(lambda: failing(hooked))
        lucky = {str(await hooked.registers()) for _ in range(3)}
        await eventually(lambda: {subject_of(got) for got in receiver.got} >= lucky)
        await eventually(lambda: all_parked(hooked, len(unlucky)))
        await eventually(lambda: lag_of_none(hooked))


async def all_parked(hooked: Hooked, number: int) -> bool:
    return (await hooked.one()).parked == number


async def test_a_wrong_address_or_secret_parks_nobody(hooked: Hooked) -> None:
    async with scripted(lambda _: answered(401)) as receiver, hooked.delivering():
        hooked.at(receiver.port, 'start = "beginning"\npark_after_minutes = 0')
        for _ in range(webhooks.MOST_FAILING * 2):
            await hooked.registers()
        await eventually(lambda: many_attempts(hooked))
        assert (await hooked.one()).parked == 0


async def test_an_erased_guest_is_erased_in_messages_that_wait_too(hooked: Hooked) -> None:
    broken = True
    async with scripted(lambda _: answered(422) if broken else OK) as receiver, hooked.delivering():
        hooked.at(receiver.port, 'start = "beginning"')
        guest = await hooked.registers()
        await eventually(lambda: receiver.got)
        async with hooked.app.client(scope="installation", organisation=None, sub="beheer") as operator:
            answer = await operator.delete(f"/v1/guests/{guest}/personal-data")
        assert answer.status_code == 204
        receiver.got.clear()
        broken = False
        await eventually(lambda: at_the_end(hooked, "one"))
        last = [json.loads(got.body) for got in receiver.got[-2:]]
        assert all(event["erased"] for event in last)


async def test_a_receiver_that_asks_for_a_pause_gets_it_for_all_messages(hooked: Hooked) -> None:
    for _ in range(20):
        await hooked.registers()
    busy = True
    async with scripted(lambda _: answered(429, "Retry-After: 3600") if busy else OK) as receiver:
        async with hooked.delivering():
            hooked.at(receiver.port, 'start = "beginning"')
            await eventually(lambda: failing(hooked))
            await eventually(lambda: has_waiting(hooked, webhook_sender.AT_ONCE))
            asked = len(receiver.got)
            assert asked == webhook_sender.AT_ONCE, "those that were under way when it asked"
        # After a new beginning of the process the log goes on; those that wait, when their time has come.
        busy = False
        async with hooked.delivering():
            await eventually(lambda: lag_of_none(hooked))
        found = await hooked.state.waiting("one", 100)
        assert len(found) == asked
        assert all(waiting.next_try > datetime.now(UTC) + timedelta(minutes=50) for waiting in found)


async def has_waiting(hooked: Hooked, number: int) -> bool:
    return (await hooked.one()).waiting == number


async def test_figures_are_of_the_receivers_that_the_file_names(hooked: Hooked) -> None:
    def lags() -> dict[str, float]:
        [family] = metrics.webhook_lag.collect()
        return {sample.labels["receiver"]: sample.value for sample in family.samples}

    await hooked.state.is_stopped("one")
    await hooked.state.update_metrics(lambda: {"one"})
    assert lags() == {"one": 0}
    await hooked.state.update_metrics(set)
    assert lags() == {}
