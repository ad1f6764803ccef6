"""What the client does when the network, or the service, does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import httpx
import pytest

from hookledger import (
    ConnectionFailedError,
    Delivery,
    Hookledger,
    NotFoundError,
    Page,
    RateLimitedError,
    TimedOutError,
    UnexpectedResponseError,
)
from hookledger import _exchange as exchange
from hookledger._call import Call

from .conftest import Account, Make, Receiver, eventually
from .weather import HANG, LOSE, PASS, Say, Weather, weather


@pytest.fixture
def bad(account: Account) -> Iterator[Weather]:
    """A network that does what the test says."""
    with weather(account.server.base) as it:
        yield it


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between tries."""
    monkeypatch.setattr(exchange, "_FIRST_WAIT", 0.01)


@pytest.fixture
def client(make: Make, account: Account, bad: Weather) -> Hookledger:
    """A client with the network in between."""
    return make(bad.base, account.key, token=account.token)


def test_a_create_whose_answer_is_lost_is_one_webhook_with_the_same_secret(
    client: Hookledger, bad: Weather, receiver: Receiver, make: Make, account: Account
) -> None:
    bad.coming = [LOSE, LOSE]
    webhook = client.webhooks.create(name="once", url=receiver.url, events=["export.ready"])
    assert webhook.response is not None
    assert webhook.response.tries == 3
    assert webhook.response.idempotency_replayed
    keys = {headers["idempotency-key"] for _, _, headers in bad.seen}
    assert keys == {webhook.response.idempotency_key}
    direct = make(account.server.base, account.key)
    assert [w.webhook_id for w in direct.webhooks.list()] == [webhook.webhook_id]
    direct.webhooks.test(webhook.webhook_id)


def two(page: Page[Delivery]) -> Page[Delivery] | None:
    return page if len(page) >= 2 else None


def test_an_event_whose_acknowledgement_is_lost_is_published_once(
    client: Hookledger, bad: Weather, receiver: Receiver
) -> None:
    webhook = client.webhooks.create(name="once", url=receiver.url, events=["export.ready"])
    bad.coming = [LOSE, LOSE, LOSE]
    accepted = client.events.publish("export.ready", {})
    receiver.next()
    # What comes after it has to come after its repeats too.
    client.events.publish("export.ready", {"last": True})
    eventually("the last", lambda: any(b'"last"' in got.body for got in receiver.got))
    delivered = eventually(
        "both deliveries", lambda: two(client.webhooks.deliveries(webhook.webhook_id, status="delivered"))
    )
    assert len(delivered) == len(receiver.got) == 2
    assert accepted.id in [d.event_id for d in delivered]


def test_a_deletion_whose_answer_is_lost_is_done(client: Hookledger, bad: Weather, receiver: Receiver) -> None:
    webhook = client.webhooks.create(name="gone", url=receiver.url, events=["export.ready"])
    bad.coming = [LOSE]
    client.webhooks.delete(webhook.webhook_id)
    assert [method for method, _, _ in bad.seen[-2:]] == ["DELETE", "DELETE"]
    with pytest.raises(NotFoundError):
        client.webhooks.delete(webhook.webhook_id)


def test_tries_are_bounded_and_the_key_finds_what_was_done(
    client: Hookledger, bad: Weather, receiver: Receiver, make: Make, account: Account
) -> None:
    bad.always = LOSE
    with pytest.raises(ConnectionFailedError) as lost:
        client.webhooks.create(name="lost", url=receiver.url, events=["export.ready"])
    assert len(bad.seen) == 4
    assert lost.value.idempotency_key
    bad.always = PASS
    found = client.webhooks.create(
        name="lost", url=receiver.url, events=["export.ready"], idempotency_key=lost.value.idempotency_key
    )
    assert found.response is not None
    assert found.response.idempotency_replayed
    assert found.secret.startswith("whsec_")
    bad.always = LOSE
    with pytest.raises(ConnectionFailedError):
        make(bad.base, account.key, max_retries=0).webhooks.list()
    assert len(bad.seen) == 6


def test_retry_after_is_waited_for_and_not_beyond_the_limit(
    client: Hookledger, bad: Weather, make: Make, account: Account
) -> None:
    bad.coming = [Say(429, (("Retry-After", "1"),))]
    began = time.monotonic()
    page = client.webhooks.list()
    assert time.monotonic() - began >= 1
    assert page.response.tries == 2
    bad.coming = [Say(429, (("Retry-After", "61"),))]
    with pytest.raises(RateLimitedError) as limited:
        client.webhooks.list()
    assert (limited.value.retry_after, limited.value.tries, limited.value.code) == (61, 1, "rate_limited")
    bad.coming = [Say(503, (("Retry-After", "0"),)), Say(502, body="<html>"), Say(500), PASS]
    assert client.webhooks.list().response.tries == 4
    bad.coming = [Say(429, (("Retry-After", "2"),))]
    with pytest.raises(RateLimitedError):
        make(bad.base, account.key, max_wait=1).webhooks.list()


def test_no_answer_in_time(bad: Weather, make: Make, account: Account) -> None:
    client = make(bad.base, account.key, max_retries=0)
    bad.coming = [HANG]
    with pytest.raises(TimedOutError, match="GET http"):
        client.webhooks.list(timeout=0.2)
    bad.coming = [HANG]
    assert make(bad.base, account.key, timeout=0.2).webhooks.list().response.tries == 2


def test_nobody_listens(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = make(f"http://127.0.0.1:{taken.getsockname()[1]}", "sk_x", max_retries=1)
        with pytest.raises(ConnectionFailedError):
            client.webhooks.list()


def test_an_answer_that_is_not_the_api_says_so(client: Hookledger, bad: Weather) -> None:
    elsewhere = "http://127.0.0.1:1/steal"
    for say, words in [
        (Say(302, (("Location", elsewhere),), ""), "status 302"),
        (Say(404, body="<html>not here</html>"), "is this Hookledger"),
        (Say(404, body='{"error": "no"}'), "is this Hookledger"),
        (Say(200, body="<html>"), "not JSON"),
        (Say(200, body='{"webhooks": []}'), "at its top, not an array"),
        (Say(200, body='[{"webhook_id": 7}]'), "int at /0/webhook_id, not a string"),
        (Say(200, body='[{"webhook_id": "wh_1"}]'), "lacks /0/name"),
    ]:
        bad.coming = [say]
        with pytest.raises(UnexpectedResponseError, match=words):
            client.webhooks.list()
    assert len(bad.seen) == 7


def test_what_is_safe_to_repeat() -> None:
    config = exchange.Config("http://x")
    lost, refused = httpx.ReadError("lost"), httpx.ConnectError("refused")

    def tries(call: Call, error: httpx.HTTPError) -> int:
        one = exchange.Exchange(call, config)
        for n in range(1, 9):
            one.request()
            try:
                one.failed(error)
            except ConnectionFailedError:
                return n
        raise AssertionError("it tries for ever")

    assert tries(Call("o", "POST", "/"), lost) == 1
    assert tries(Call("o", "POST", "/"), refused) == 4
    assert tries(Call("o", "POST", "/", idempotent=True), lost) == 4
    assert tries(Call("o", "GET", "/"), lost) == 4
    assert tries(Call("o", "GET", "/"), httpx.UnsupportedProtocol("x")) == 1

    body = b'{"error": {"code": "idempotency_in_progress", "message": "m", "details": {}, "request_id": "r"}}'
    one = exchange.Exchange(Call("o", "POST", "/", idempotent=True, idempotency_key="mine"), config)
    assert one.request()["headers"]["Idempotency-Key"] == "mine"
    assert one.answered(409, {}, body) > 0


def test_waits_double_and_differ() -> None:
    for _ in range(50):
        one = exchange.Exchange(Call("o", "GET", "/"), exchange.Config("http://x", max_retries=20))
        for n in range(1, 15):
            one.request()
            most = min(8, exchange._FIRST_WAIT * 2 ** (n - 1))
            assert most / 2 <= one.failed(httpx.ReadError("lost")) <= most


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7),
        (" 7 ", 7),
        ("-1", None),
        ("soon", None),
        ("Tue, 24 Nov 2026 00:00:30 GMT", 30),
        ("Tue, 24 Nov 2026 00:00:30 -0000", 30),
        ("Mon, 23 Nov 2026 00:00:30 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert exchange.retry_after(value, lambda: datetime(2026, 11, 24, tzinfo=timezone.utc)) == seconds
