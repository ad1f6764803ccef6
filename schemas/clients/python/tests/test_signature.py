"""Signatures: against fixed values, against the stock library of Standard Webhooks, and against what is forged."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest
from standardwebhooks import Webhook as Stock

from hookledger import SignatureError, verify_signature

# Made with: printf BODY | openssl dgst -sha256 -hmac SECRET
SECRET = "whsec_Y0rR1LQZV+81WcU9EP4osN5LH0NNk14RUXnU9tx6gGs="
OTHER = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
BODY = '{"id":"evt_1","data":{"name":"ü"}}'.encode()
SIGNATURE = "sha256=98f45b27567273a65aa7282198036dd88250919f54ecb273ff3ad1302be7d92c"


def headers(secret: str = SECRET, at: float | None = None, body: bytes = BODY) -> dict[str, str]:
    """What the stock library signs."""
    moment = time.time() if at is None else at
    signature = Stock(secret).sign("del_1", datetime.fromtimestamp(moment, timezone.utc), body.decode())
    return {"Webhook-Id": "del_1", "WEBHOOK-TIMESTAMP": str(int(moment)), "webhook-signature": signature}


def test_the_body_s_signature() -> None:
    verify_signature(BODY, secret=SECRET, signature=SIGNATURE)
    verify_signature(BODY, secret=[OTHER, SECRET], signature=SIGNATURE)


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", SIGNATURE.upper(), SIGNATURE[:-1], SIGNATURE.removeprefix("sha256="), SIGNATURE + "ü", "\ud800"],
)
def test_a_forged_signature(signature: str) -> None:
    with pytest.raises(SignatureError):
        verify_signature(BODY, secret=SECRET, signature=signature)


def test_another_body_or_secret() -> None:
    with pytest.raises(SignatureError):
        verify_signature(BODY + b" ", secret=SECRET, signature=SIGNATURE)
    with pytest.raises(SignatureError):
        verify_signature(BODY, secret=OTHER, signature=SIGNATURE)
    with pytest.raises(SignatureError):
        verify_signature(BODY + b" ", secret=SECRET, headers=headers())
    with pytest.raises(SignatureError):
        verify_signature(BODY, secret=OTHER, headers=headers())


def test_what_the_stock_library_signs() -> None:
    verify_signature(BODY, secret=SECRET, headers=headers())
    verify_signature(BODY, secret=(OTHER, SECRET), headers=headers())


def test_several_signatures_as_in_a_rotation() -> None:
    signed = headers()
    both = {**signed, "webhook-signature": f"v2,xx {headers(OTHER)['webhook-signature']} {signed['webhook-signature']}"}
    verify_signature(BODY, secret=SECRET, headers=both)
    verify_signature(BODY, secret=OTHER, headers=both)
    with pytest.raises(SignatureError, match="no signature"):
        verify_signature(BODY, secret=SECRET, headers={**signed, "webhook-signature": "v2,xx v1 v1, ,"})
    with pytest.raises(SignatureError, match="no signature"):
        verify_signature(BODY, secret=SECRET, headers={**signed, "webhook-id": "del_2"})


def test_the_time_is_signed_and_judged() -> None:
    signed = headers(at=1000)
    for now in (700, 1000, 1300):
        verify_signature(BODY, secret=SECRET, headers=signed, now=now)
    for now in (699, 1301):
        with pytest.raises(SignatureError, match="300 s are allowed"):
            verify_signature(BODY, secret=SECRET, headers=signed, now=now)
    verify_signature(BODY, secret=SECRET, headers=signed, now=1010, tolerance=10)
    with pytest.raises(SignatureError, match="no signature"):
        verify_signature(BODY, secret=SECRET, headers={**signed, "WEBHOOK-TIMESTAMP": "1001"}, now=1000)
    for odd in ("", "1e3", "-1000", "1000.0", "\u0661000", "9" * 400):
        with pytest.raises(SignatureError, match="not a number"):
            verify_signature(BODY, secret=SECRET, headers={**signed, "WEBHOOK-TIMESTAMP": odd}, now=1000)
    for name in signed:
        with pytest.raises(SignatureError, match=f"{name.lower()} is missing"):
            verify_signature(BODY, secret=SECRET, headers={n: v for n, v in signed.items() if n != name})


def test_wrong_arguments_are_said_and_never_pass() -> None:
    with pytest.raises(TypeError, match="bytes"):
        verify_signature(BODY.decode(), secret=SECRET, signature=SIGNATURE)  # type: ignore[call-overload]
    for secret in ("", [], [SECRET, ""]):
        with pytest.raises(ValueError, match="secret"):
            verify_signature(BODY, secret=secret, signature=SIGNATURE)
    with pytest.raises(ValueError, match="base64"):
        verify_signature(BODY, secret="whsec_%", headers=headers())
    with pytest.raises(TypeError, match="either"):
        verify_signature(BODY, secret=SECRET)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="either"):
        verify_signature(BODY, secret=SECRET, signature=SIGNATURE, headers=headers())  # type: ignore[call-overload]
