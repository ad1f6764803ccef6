"""Whether a request that a receiver got is from the service."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from typing import overload

_PREFIX = "whsec_"


class SignatureError(Exception):
    """The request is not what was signed, or too old: answer 400 and do nothing else with it."""


@overload
def verify_signature(body: bytes, *, secret: str | Iterable[str], signature: str) -> None: ...


@overload
def verify_signature(
    body: bytes,
    *,
    secret: str | Iterable[str],
    headers: Mapping[str, str],
    tolerance: float = 300.0,
    now: float | None = None,
) -> None: ...


def verify_signature(
    body: bytes,
    *,
    secret: str | Iterable[str],
    signature: str | None = None,
    headers: Mapping[str, str] | None = None,
    tolerance: float = 300.0,
    now: float | None = None,
) -> None:
    """Return if a received body was signed with the webhook's secret; raise SignatureError if not.

    With `headers` (the request's, names in any case) the Standard Webhooks headers are verified, which also shows
    that the request was made within `tolerance` seconds of now, so that an old one can't be played again. Prefer it.
    With `signature` it is the value of `X-Webhook-Signature`, which is over the body alone.

    Verify before you parse, and give the bytes as they were received: JSON that was parsed and written again is other
    bytes. Signatures are compared in constant time.

    Args:
        body: The request's body, byte by byte.
        secret: The webhook's secret, `whsec_...`, or several: while you rotate it, the old one and the new one.
        signature: The header X-Webhook-Signature.
        headers: The request's headers.
        tolerance: How many seconds the clocks may differ, and the request may have travelled.
        now: The time in seconds since 1970; None is this machine's.
    """
    if not isinstance(body, (bytes, bytearray, memoryview)):  # untyped callers give text
        raise TypeError("body: the bytes of the request are needed, not text")
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not secrets or not all(secrets):
        raise ValueError("secret: the webhook's secret is needed")
    if (signature is None) == (headers is None):
        raise TypeError("give either signature or headers")
    if headers is not None:
        _standard(body, secrets, headers, tolerance, time.time() if now is None else now)
        return
    given = (signature or "").encode(errors="replace")
    good = False
    for s in secrets:
        want = "sha256=" + hmac.new(s.encode(), body, hashlib.sha256).hexdigest()
        good |= hmac.compare_digest(want.encode(), given)
    if not good:
        raise SignatureError("X-Webhook-Signature is not that of this body and this secret")


def _standard(body: bytes, secrets: list[str], headers: Mapping[str, str], tolerance: float, now: float) -> None:
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        message, at, signatures = (lower["webhook-id"], lower["webhook-timestamp"], lower["webhook-signature"])
    except KeyError as missing:
        raise SignatureError(f"the header {missing.args[0]} is missing") from None
    if not (at.isascii() and at.isdigit() and len(at) <= 12):
        raise SignatureError("webhook-timestamp is not a number of seconds")
    signed = f"{message}.{at}.".encode(errors="replace") + body
    given = [value for mark, _, value in (s.partition(",") for s in signatures.split()) if mark == "v1"]
    good = False
    for s in secrets:
        want = base64.b64encode(hmac.new(_key(s), signed, hashlib.sha256).digest())
        for value in given:
            good |= hmac.compare_digest(want, value.encode(errors="replace"))
    if not good:
        raise SignatureError("no signature in webhook-signature is that of this request and this secret")
    if abs(now - int(at)) > tolerance:
        raise SignatureError(f"the request was signed {now - int(at):.0f} s ago, {tolerance:.0f} s are allowed")


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("secret: it is `whsec_` and base64") from None
