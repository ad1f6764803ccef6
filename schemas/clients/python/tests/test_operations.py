"""Every operation of the specification, by both clients, against the server."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import httpx
import pytest

from hookledger import (
    UNSET,
    AsyncHookledger,
    ConflictError,
    DeliveryStatus,
    Hookledger,
    JSONObject,
    NewEvent,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    PreconditionFailedError,
    Scope,
    ValidationError,
    WebhookStatus,
    verify_signature,
)
from hookledger._async_gen import OPERATIONS as ASYNC_OPERATIONS
from hookledger._sync_gen import OPERATIONS

from .conftest import Account, Make, Receiver, Server, eventually

T = TypeVar("T")


@pytest.fixture(scope="session")
def specification(server: Server) -> dict[str, Any]:
    """What the running server says of itself."""
    answer = httpx.get(server.base + "/openapi.json")
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document


def operations(specification: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Path, method and definition by operationId."""
    return {
        definition["operationId"]: (path, method.upper(), {**definition, "shared": item.get("parameters", [])})
        for path, item in specification["paths"].items()
        for method, definition in item.items()
        if method in ("get", "put", "post", "delete", "patch")
    }


def resolve(specification: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = specification
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def test_both_clients_have_every_operation_of_the_specification(specification: dict[str, Any], server: Server) -> None:
    known = operations(specification)
    assert set(OPERATIONS) == set(known)
    assert ASYNC_OPERATIONS == OPERATIONS
    blocking, waiting = Hookledger(server.base), AsyncHookledger(server.base)
    for name, (_, _, definition) in known.items():
        resource, method = OPERATIONS[name].split(".")
        one, other = (getattr(getattr(c, resource), method) for c in (blocking, waiting))
        assert inspect.signature(one) == inspect.signature(other), name
        assert inspect.iscoroutinefunction(other)
        assert not inspect.iscoroutinefunction(one)
        arguments = set(inspect.signature(one).parameters)
        for parameter in definition["shared"] + definition.get("parameters", []):
            wire = resolve(specification, parameter)["name"]
            argument = re.sub(r"[-.]", "_", wire).lower()
            assert {argument, argument + "_"} & arguments, f"{name} lacks {wire}"  # from_ is from
        body = definition.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        wanted = resolve(specification, body)
        if name == "PublishEvents":
            wanted = specification["components"]["schemas"]["EventInput"]
        assert set(wanted.get("properties", {})) <= arguments, name
    blocking.close()


def test_every_operation_is_called_and_answers_as_it_should(
    make: Make, account: Account, receiver: Receiver, specification: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """One long way through the API that leaves out no operation: what was called is compared with the specification."""
    seen: set[tuple[str, str]] = set()

    def note(sent: httpx.Request) -> None:
        seen.add((sent.method, sent.url.path))

    async def anote(sent: httpx.Request) -> None:
        note(sent)

    if request.node.callspec.params["make"] == "sync":
        lent: Any = httpx.Client(event_hooks={"request": [note]})
    else:
        lent = httpx.AsyncClient(event_hooks={"request": [anote]})
    client = make(account.server.base, account.key, token=account.token, http_client=lent)

    # Webhooks.
    names = client.webhooks.event_names()
    assert "export.ready" in names
    webhook = client.webhooks.create(
        name="tour", url=receiver.url, events=["export.ready"], metadata={"team": "ü", "n": 1}, index_ids=None
    )
    assert webhook.secret.startswith("whsec_")
    assert "whsec_" not in repr(webhook)
    assert webhook.status is WebhookStatus.ACTIVE
    assert webhook.metadata == {"team": "ü", "n": 1}
    assert webhook.response is not None
    assert webhook.response.status == 201
    assert webhook.etag == webhook.response.etag
    got = client.webhooks.get(webhook.webhook_id)
    assert (got.name, got.created_at.tzinfo) == ("tour", timezone.utc)
    assert client.webhooks.get(webhook.webhook_id, if_none_match=got) is None
    updated = client.webhooks.update(webhook.webhook_id, name="after", metadata=None, if_match=got)
    assert (updated.name, updated.metadata, updated.events) == ("after", None, ["export.ready"])
    with pytest.raises(PreconditionFailedError) as stale:
        client.webhooks.update(webhook.webhook_id, name="late", if_match=got)
    assert (stale.value.code, stale.value.status) == ("precondition_failed", 412)
    listed = client.webhooks.list()
    assert [w.webhook_id for w in listed] == [webhook.webhook_id]
    assert (listed[0].etag, updated.version) == ('"2"', 2)
    assert client.webhooks.update(webhook.webhook_id, name="again", if_match=listed[0]).version == 3
    tried = client.webhooks.test(webhook.webhook_id)
    assert (tried.success, tried.status_code, tried.outcome) == (True, 204, Outcome.DELIVERED)
    verify_signature(receiver.got[0].body, secret=webhook.secret, headers=receiver.got[0].headers)
    rotated = client.webhooks.rotate_secret(webhook.webhook_id, overlap_seconds=60)
    assert rotated.new_secret != webhook.secret

    # Events and deliveries.
    accepted = client.events.publish(
        "export.ready",
        JSONObject('{"n": 1.0000000000000000001, "n": 2}'),
        id=f"mine-{request.node.callspec.id}",
        ordering_key="k",
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2))),
    )
    assert (accepted.id, accepted.status) == (f"mine-{request.node.callspec.id}", "accepted")
    sent = receiver.next(2)
    headers = {name.lower(): value for name, value in sent.headers.items()}
    for secret in (webhook.secret, rotated.new_secret):  # the overlap
        verify_signature(sent.body, secret=secret, headers=sent.headers)
    verify_signature(sent.body, secret=rotated.new_secret, signature=headers["x-webhook-signature"])
    delivery = eventually(
        "delivery in the history",
        lambda: next(iter(client.webhooks.deliveries(webhook.webhook_id, status="delivered")), None),
    )
    assert delivery.status is DeliveryStatus.DELIVERED
    single = client.deliveries.get(delivery.delivery_id)
    assert single.payload is not None
    assert single.payload.raw == sent.body
    assert '{"n": 1.0000000000000000001, "n": 2}' in single.payload.text
    assert single.stats is not None
    assert single.stats.requests_sent == 1
    attempts = client.deliveries.attempts(delivery.delivery_id)
    assert [(a.number, a.outcome, a.response_status_code) for a in attempts] == [(1, "delivered", 204)]
    assert [a.attempt_id for a in client.deliveries.iter_attempts(delivery.delivery_id)] == [attempts[0].attempt_id]
    with pytest.raises(ConflictError, match="delivery_already_delivered"):
        client.deliveries.retry(delivery.delivery_id)
    event = client.events.get(accepted.id, ordering_key="k")
    assert event.data is not None
    assert event.data.text == '{"n": 1.0000000000000000001, "n": 2}'
    assert event.created_at == datetime(2026, 1, 2, 1, 4, 5, 678000, tzinfo=timezone.utc)
    assert [d.delivery_id for d in client.events.iter_deliveries(accepted.id)] == [delivery.delivery_id]

    # Figures, and who did it.
    figures = client.analytics.deliveries(bucket="hour", time_zone="Europe/Berlin", webhook_id=webhook.webhook_id)
    assert (figures.total.by_status.delivered, figures.total.success_rate) == (1, 1.0)
    tries = client.analytics.attempts(group_by="webhook", from_=delivery.created_at - timedelta(hours=1))
    assert [g.webhook_id for g in tries.groups] == [webhook.webhook_id]
    assert tries.total.by_response.http_2xx == tries.total.by_outcome["delivered"] == 1
    changes = client.audit.changes(webhook_id=webhook.webhook_id, kind="webhook_created")
    assert [c.subject_id for c in changes] == [webhook.webhook_id]
    assert "secret_rotated" in [c.kind for c in client.audit.iter_changes(page_size=1)]

    # Keys: the token is used for them, though there is a key.
    key = client.api_keys.create(name="tour", scopes=[Scope.READ, "search"], expires_in_days=3)
    assert key.key.startswith("sk_")
    assert key.key not in repr(key)
    assert key.expires_at is not None
    assert key.expires_at - key.created_at == timedelta(days=3)
    assert client.api_keys.get(key.key_id).scopes == ["read", "search"]
    assert key.key_id in [k.key_id for k in client.api_keys.iter(page_size=1)]
    weak = make(account.server.base, key.key)
    with pytest.raises(PermissionDeniedError) as denied:
        weak.webhooks.update(webhook.webhook_id, name="no")
    assert denied.value.details == {"required_scope": "write", "scope": "read"}
    with pytest.raises(PermissionDeniedError, match="permission_jwt_required"):
        weak.api_keys.list()
    new = client.api_keys.rotate(key.key_id).new_key
    assert client.api_keys.revoke(new.key_id).is_active is False
    client.api_keys.delete(new.key_id)
    with pytest.raises(NotFoundError, match="resource_api_key_not_found"):
        client.api_keys.get(new.key_id)

    # The service itself.
    assert client.operations.readyz().ready
    assert client.operations.livez().strip()
    assert "hookledger_" in client.operations.metrics()
    assert client.operations.openapi()["openapi"] == specification["openapi"]

    # Reads that need no argument and were not made yet.
    for name, (path, method, _) in operations(specification).items():
        if method == "GET" and "{" not in path and ("GET", path) not in seen:
            resource, of = OPERATIONS[name].split(".")
            assert getattr(getattr(client, resource), of)(), name

    client.webhooks.delete(webhook.webhook_id)
    with pytest.raises(NotFoundError) as gone:
        client.webhooks.get(webhook.webhook_id)
    assert gone.value.code == "resource_webhook_not_found"
    assert gone.value.request_id

    called = set()
    for name, (path, method, _) in operations(specification).items():
        pattern = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path))
        literal = {p for p, _, _ in operations(specification).values() if "{" not in p}
        if any(m == method and pattern.fullmatch(p) and (p == path or p not in literal) for m, p in seen):
            called.add(name)
    assert called == set(operations(specification)), "this test leaves out an operation: call it"


def test_many_events_are_one_request_with_answers_in_their_order(client: Hookledger, receiver: Receiver) -> None:
    client.webhooks.create(name="many", url=receiver.url, events=["export.ready", "export.failed"])
    accepted = client.events.publish_many(
        [
            NewEvent(event="export.ready", data={"n": 0}, ordering_key="same"),
            {"event": "export.failed", "data": {"n": 1, "float": 0.1, "text": "\u2028ü"}, "ordering_key": "same"},
            NewEvent(event="export.ready", data=JSONObject(b'{ "n" : 2 }'), ordering_key="same"),
        ]
    )
    assert len({a.id for a in accepted}) == 3
    receiver.next(3)
    bodies = {JSONObject(r.body)["id"]: JSONObject(r.body) for r in receiver.got}
    assert [bodies[a.id]["data"]["n"] for a in accepted] == [0, 1, 2]
    assert '{ "n" : 2 }' in bodies[accepted[2].id].text
    with pytest.raises(ValidationError) as wrong:
        client.events.publish_many([NewEvent(event="export.ready", data={}), NewEvent(event="export.redy", data={})])
    assert [(f.in_, f.field, f.suggestion) for f in wrong.value.fields] == [("body", "/1/event", "export.ready")]
    with pytest.raises(TypeError, match="publish takes a single one"):
        client.events.publish_many(NewEvent(event="export.ready", data={}))  # type: ignore[arg-type]


def test_a_failed_delivery_is_retried_by_hand(client: Hookledger, receiver: Receiver) -> None:
    receiver.status = 500
    webhook = client.webhooks.create(name="fails", url=receiver.url, events=["export.ready"])
    client.events.publish("export.ready", {})
    waiting = eventually(
        "delivery that waits", lambda: list(client.webhooks.deliveries(webhook.webhook_id, status="retrying"))
    )
    assert waiting[0].next_retry_at is not None
    assert waiting[0].response_status_code == 500
    receiver.status = 200
    retried = client.deliveries.retry(waiting[0].delivery_id)
    assert retried.delivery_id == waiting[0].delivery_id
    receiver.next(2)
    eventually("end of the delivery", lambda: client.deliveries.get(retried.delivery_id).end == "delivered")
    assert [a.outcome for a in client.deliveries.attempts(retried.delivery_id)] == [
        Outcome.HTTP_STATUS,
        Outcome.DELIVERED,
    ]


def three(items: Iterator[T]) -> list[T] | None:
    found = list(items)
    return found if len(found) == 3 else None


def test_pages_go_over_everything_once(client: Hookledger, receiver: Receiver) -> None:
    receiver.status = 200
    made = [
        client.webhooks.create(name=f"w{n}", url=receiver.url, events=["export.ready"]).webhook_id for n in range(5)
    ]
    first = client.webhooks.list(limit=2)
    assert (len(first), first[0].name, [w.name for w in first[:1]]) == (2, "w4", ["w4"])
    assert first.next_cursor
    second = client.webhooks.list(limit=2, cursor=first.next_cursor)
    assert [w.name for w in second] == ["w2", "w1"]
    assert [w.webhook_id for w in client.webhooks.iter(page_size=2)] == made[::-1]
    assert client.webhooks.list().next_cursor is None

    accepted = client.events.publish_many([NewEvent(event="export.ready", data={"n": n}) for n in range(3)])
    eventually("15 requests", lambda: len(receiver.got) == 15)
    deliveries = eventually(
        "history of three deliveries",
        lambda: three(client.webhooks.iter_deliveries(made[0], status="delivered", page_size=1)),
    )
    assert {d.event_id for d in deliveries} == {a.id for a in accepted}
    fan_out = [d.webhook_id for d in client.events.iter_deliveries(accepted[0].id, page_size=2)]
    assert sorted(fan_out) == sorted(made)


def test_a_change_says_only_what_was_given(client: Hookledger, receiver: Receiver) -> None:
    webhook = client.webhooks.create(
        name="a", url=receiver.url, events=["export.ready"], index_ids=["i"], metadata=JSONObject('{"x": 1.10}')
    )
    assert client.webhooks.update(webhook.webhook_id, status="paused").index_ids == ["i"]
    assert client.webhooks.update(webhook.webhook_id, index_ids=None, name=UNSET).index_ids is None
    assert client.webhooks.update(webhook.webhook_id, status=WebhookStatus.ACTIVE).status == "active"
    with pytest.raises(TypeError, match="a list of strings is needed"):
        client.webhooks.update(webhook.webhook_id, events="export.ready")
    with pytest.raises(ValidationError) as wrong:
        client.webhooks.create(name="", url="ftp://x", events=["export.redy"])
    assert {f.field for f in wrong.value.fields} == {"/name", "/url", "/events/0"}
