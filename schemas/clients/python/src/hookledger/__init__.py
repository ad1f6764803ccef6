"""The client of Hookledger's API: webhooks, deliveries, events, and what became of them.

    from hookledger import Hookledger

    with Hookledger("https://hooks.example.com", api_key="sk_...") as client:
        webhook = client.webhooks.create(name="orders", url="https://example.com/hook", events=["export.ready"])
        client.events.publish("export.ready", {"export_id": "ex_1"})

`AsyncHookledger` is the same for asyncio. What a receiver needs is `verify_signature`.
"""

from ._client import AsyncHookledger, Hookledger
from ._errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectionFailedError,
    HookledgerError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    RateLimitedError,
    RequestTooLargeError,
    ServerError,
    TimedOutError,
    UnavailableError,
    UnexpectedResponseError,
    ValidationError,
)
from ._json import JSONObject
from ._model import UNSET, Model, OpenEnum, Page, Response, Unset
from ._models_gen import *  # noqa: F403
from ._models_gen import __all__ as _models
from ._publish import NewEvent
from ._signature import SignatureError, verify_signature
from ._version import __version__

__all__ = [  # noqa: PLE0604
    "UNSET",
    "APIError",
    "AsyncHookledger",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "ConnectionFailedError",
    "Hookledger",
    "HookledgerError",
    "JSONObject",
    "Model",
    "NewEvent",
    "NotFoundError",
    "OpenEnum",
    "Page",
    "PermissionDeniedError",
    "PreconditionFailedError",
    "RateLimitedError",
    "RequestTooLargeError",
    "Response",
    "ServerError",
    "SignatureError",
    "TimedOutError",
    "UnavailableError",
    "UnexpectedResponseError",
    "Unset",
    "ValidationError",
    "__version__",
    "verify_signature",
    *_models,
]
