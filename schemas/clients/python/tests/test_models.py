"""Models of newer and of other servers, and JSON that keeps its bytes."""

from __future__ import annotations

import copy
import json
import pickle
import random
from datetime import datetime, timezone
from typing import Any

import pytest

from hookledger import (
    APIError,
    AsyncHookledger,
    Hookledger,
    JSONObject,
    NewEvent,
    Outcome,
    UnexpectedResponseError,
    Webhook,
    WebhookStatus,
)
from hookledger._call import moment, path, query, tag
from hookledger._decode import Value, integer, number, timestamp
from hookledger._json import parts_of_array, parts_of_object
from hookledger._refusal import error_of

WEBHOOK: dict[str, Any] = {
    "webhook_id": "wh_1",
    "name": "n",
    "url": "https://x",
    "events": ["export.ready"],
    "index_ids": None,
    "status": "active",
    "disabled_reason": None,
    "failure_count": 0,
    "last_failure_at": None,
    "last_success_at": "2026-01-02T03:04:05.678Z",
    "stats_as_of": None,
    "created_at": "2026-01-02T03:04:05.000Z",
    "updated_at": "2026-01-02T03:04:05.000Z",
    "metadata": None,
    "version": 7,
}


def webhook(**members: Any) -> Webhook:
    return Webhook.decode(Value({**WEBHOOK, **members}, json.dumps({**WEBHOOK, **members})))


def test_what_a_newer_server_adds_breaks_nothing() -> None:
    one = webhook(colour="green", status="sleeping", version=7.0)
    assert one.extra == {"colour": "green"}
    assert one.status == "sleeping"
    assert (one.status.value, one.status.known, f"{one.status} {one.status!s}") == (
        "sleeping",
        False,
        "sleeping sleeping",
    )
    assert WebhookStatus("sleeping") == one.status
    assert hash(WebhookStatus("sleeping")) == hash(one.status) == hash("sleeping")
    assert "sleeping" not in [s.value for s in WebhookStatus]
    assert WebhookStatus.ACTIVE.known
    assert json.dumps(one.status) == '"sleeping"'
    assert one.version == 7
    assert one.etag == '"7"'
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one.status)) == "sleeping"  # noqa: S301
    with pytest.raises(ValueError, match="7"):
        WebhookStatus(7)


def test_what_an_odd_server_says_is_named_with_its_place() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": None}, "NoneType at /name, not a string"),
        ({"events": "x"}, "str at /events, not an array"),
        ({"events": ["x", 1]}, "int at /events/1, not a string"),
        ({"version": True}, "bool at /version, not an integer"),
        ({"created_at": "yesterday"}, "str at /created_at, not an RFC 3339 timestamp"),
        ({"created_at": "2026-13-02T03:04:05.000Z"}, "not an RFC 3339 timestamp"),
        ({"metadata": []}, "list at /metadata, not an object"),
    ]
    for members, words in wrong:
        with pytest.raises(UnexpectedResponseError, match=words):
            webhook(**members)
    with pytest.raises(UnexpectedResponseError, match="a number"):
        number(Value("1"))
    assert integer(Value(2**70)) == 2**70


def test_an_error_with_a_new_code_and_odd_details() -> None:
    body = (
        b'{"error": {"code": "teapot", "message": "m", "details": {"fields": 7}, "request_id": "r", "retry_after": 2}}'
    )
    error = error_of(418, body, None, 1)
    assert isinstance(error, APIError)
    assert (error.code, error.code.known, error.fields, error.retry_after) == ("teapot", False, [], 2)
    assert str(error) == "teapot: m (request r)"


def test_timestamps() -> None:
    for text, want in [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456)),
        ("2026-01-02t03:04:05.1+05:30", datetime(2026, 1, 1, 21, 34, 5, 100000)),
    ]:
        assert timestamp(Value(text)) == want.replace(tzinfo=timezone.utc)
    with pytest.raises(ValueError, match="no time zone"):
        moment(datetime(2026, 1, 1))
    assert moment(datetime(2026, 1, 1, tzinfo=timezone.utc)) == "2026-01-01T00:00:00.000000Z"


def test_json_keeps_its_bytes() -> None:
    one = JSONObject(b' {"a" : 1.10, "a":{"b":[1,2 ]}} ')
    assert one.raw == b' {"a" : 1.10, "a":{"b":[1,2 ]}} '
    assert one == {"a": {"b": [1, 2]}}
    assert {**one} == {"a": {"b": [1, 2]}}
    assert (len(one), list(one), one != {"a": 1}) == (1, ["a"], True)
    assert JSONObject({"ü": 0.1}).text == '{"ü":0.1}'
    assert hash(JSONObject('{"a":1}')) == hash(JSONObject('{ "a" : 1 }'))
    for wrong in ("[]", "{", "1", '{"a":1} x'):
        with pytest.raises(ValueError):  # noqa: PT011
            JSONObject(wrong)
    for wrong in ({"a": float("nan")}, {"a": "\ud800"}):  # type: ignore[assignment]
        with pytest.raises(ValueError):  # noqa: PT011
            JSONObject(wrong)
    with pytest.raises(TypeError):
        JSONObject({"a": object()})


def test_parts_are_what_json_says() -> None:
    """Random documents, spaced at random: the parts are the members, byte by byte."""
    rng = random.Random(7)

    def value(depth: int) -> Any:
        kinds = [1, -2.5e300, True, None, "x", 'q"\\/\b\u2028😀', "", 10**30]
        if depth and rng.random() < 0.6:
            if rng.random() < 0.5:
                return [value(depth - 1) for _ in range(rng.randrange(4))]
            return {rng.choice(["a", 'b"', "ü", "", "c\n"]) + str(n): value(depth - 1) for n in range(rng.randrange(4))}
        return rng.choice(kinds)

    for _ in range(300):
        document = {str(n): value(3) for n in range(rng.randrange(5))}
        text = json.dumps(document, indent=rng.choice([None, 1, "\t"]), ensure_ascii=rng.random() < 0.5)
        parts = parts_of_object(rng.choice(["", " \r\n"]) + text + rng.choice(["", "\n"]))
        assert {name: json.loads(part) for name, part in parts.items()} == document
        assert all(part in text for part in parts.values())
        items = list(document.values())
        assert [json.loads(part) for part in parts_of_array(json.dumps(items, indent=2))] == items


def test_paths_tags_and_queries() -> None:
    assert path("/e/{id}", id="a/b?c#d%ü") == "/e/a%2Fb%3Fc%23d%25%C3%BC"
    assert path("/e/{id}", id="..") == "/e/%2E%2E"
    for wrong in ("", None):
        with pytest.raises(ValueError, match="an id is needed"):
            path("/e/{id}", id=wrong)  # type: ignore[arg-type]
    assert tag('W/"1"') == 'W/"1"'
    assert (tag("*"), tag(webhook())) == ("*", '"7"')
    with pytest.raises(ValueError, match="double quotes"):
        tag("7")
    assert query({"a": True, "b": ["x", "y"], "c": Outcome.TLS}) == [
        ("a", "true"),
        ("b", "x"),
        ("b", "y"),
        ("c", "tls"),
    ]


def test_a_client_shows_no_credential_and_takes_no_nonsense() -> None:
    with Hookledger("https://x.example/api/v2/", "sk_1", token=lambda: "jwt") as client:
        assert repr(client) == "Hookledger('https://x.example')"
        assert "sk_1" not in repr(client._config)
    assert repr(AsyncHookledger("https://x.example")) == "AsyncHookledger('https://x.example')"
    for wrong in ("", "x.example", "ftp://x", "https://x?y"):
        with pytest.raises(ValueError, match="base_url"):
            Hookledger(wrong)
    with pytest.raises(ValueError, match="timeout"):
        Hookledger("https://x", timeout=0)
    with pytest.raises(TypeError):
        NewEvent(event="x", data={}, colour="green")  # type: ignore[call-arg]
