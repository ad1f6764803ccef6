package apierr

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// Malformed (400): the request can't be read.
func Malformed(format string, a ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: RequestMalformed, Message: fmt.Sprintf(format, a...)}
}

// Unauthenticated (401): no credential was given.
func Unauthenticated() *Error {
	return &Error{
		Status: http.StatusUnauthorized, Code: AuthenticationRequired,
		Message: "a credential is needed: X-API-Key, or Authorization: Bearer with an API key or a JWT",
	}
}

// BadCredential (401): one was given and is not good. It does not say why beyond what the caller may know: the
// cause is for the log.
func BadCredential(cause error) *Error {
	return &Error{
		Status: http.StatusUnauthorized, Code: AuthenticationInvalid,
		Message: "the credential is not valid: unknown, expired or revoked", Cause: cause,
	}
}

// Forbidden (403): the credential's scope is too small.
func Forbidden(need, have string) *Error {
	return &Error{
		Status: http.StatusForbidden, Code: ScopeInsufficient,
		Message: fmt.Sprintf("this needs the scope %q, the credential has %q", need, have),
		Details: map[string]any{"required_scope": need, "scope": have},
	}
}

// NeedJWT (403): API keys can't manage API keys.
func NeedJWT() *Error {
	return &Error{Status: http.StatusForbidden, Code: JWTRequired, Message: "API keys are managed with a JWT, not with an API key"}
}

// NoPath (404): there is nothing at this path.
func NoPath(path string) *Error {
	return &Error{
		Status: http.StatusNotFound, Code: PathNotFound, Message: "there is nothing at this path",
		Details: map[string]any{"path": path},
	}
}

// NoPathBut (404): there is nothing at this path, but at one that is nearly it.
func NoPathBut(path, there string) *Error {
	e := NoPath(path)
	e.Message += ": did you mean " + there + "?"
	e.Details["suggestion"] = there
	return e
}

// NoWebhook (404), also for another account's.
func NoWebhook(id string) *Error { return notFound(WebhookNotFound, "webhook", "webhook_id", id) }

// NoDelivery (404), also for another account's.
func NoDelivery(id string) *Error { return notFound(DeliveryNotFound, "delivery", "delivery_id", id) }

// NoEvent (404), also for another account's.
func NoEvent(id string) *Error { return notFound(EventNotFound, "event", "event_id", id) }

// NoAPIKey (404), also for another account's.
func NoAPIKey(id string) *Error { return notFound(APIKeyNotFound, "API key", "key_id", id) }

func notFound(c Code, what, field, id string) *Error {
	return &Error{
		Status: http.StatusNotFound, Code: c, Message: fmt.Sprintf("there is no %s %q in this account", what, id),
		Details: map[string]any{field: id},
	}
}

// BadMethod (405), with what the path takes.
func BadMethod(method string, allow []string) *Error {
	return &Error{
		Status: http.StatusMethodNotAllowed, Code: MethodNotAllowed, Allow: strings.Join(allow, ", "),
		Message: fmt.Sprintf("%s is not possible here, only %s", method, strings.Join(allow, ", ")),
		Details: map[string]any{"allowed": allow},
	}
}

// Conflict (409) with one of the codes that mean it.
func Conflict(c Code, format string, a ...any) *Error {
	return &Error{Status: http.StatusConflict, Code: c, Message: fmt.Sprintf(format, a...)}
}

// LostRace (409): a PATCH without If-Match that lost too often.
func LostRace(webhookID string) *Error {
	e := Conflict(VersionConflict, "webhook %q was changed by others at the same time, several times: read it again and repeat", webhookID)
	e.Details = map[string]any{"webhook_id": webhookID}
	return e
}

// KeyReused (409): an Idempotency-Key with another body.
func KeyReused() *Error {
	return Conflict(IdempotencyMismatch, "this Idempotency-Key was used with another request: use a new key, or repeat the first request exactly")
}

// KeyInProgress (409): the first request under this key is unanswered.
func KeyInProgress() *Error {
	e := Conflict(IdempotencyInProgress, "the first request with this Idempotency-Key is not answered yet: ask again")
	e.RetryAfter = 5 * time.Second
	return e
}

// EventIDUsed (409): an event id with other content.
func EventIDUsed(id string) *Error {
	e := Conflict(EventIDConflict, "the event id %q was used with other content: the first stands", id)
	e.Details = map[string]any{"event_id": id}
	return e
}

// AlreadyDelivered (409): a retry of what is delivered.
func AlreadyDelivered(id string) *Error {
	return delivery(DeliveryAlreadyDelivered, id, "delivery %q is delivered: there is nothing to retry", id)
}

// WebhookDeleted (409): a retry for a webhook that is gone.
func WebhookDeleted(id string) *Error {
	return delivery(DeliveryWebhookDeleted, id, "the webhook of delivery %q is deleted: it can't be retried", id)
}

// RetryRefused (409): the delivery went on while the retry was asked for.
func RetryRefused(id string) *Error {
	return delivery(DeliveryRetryRefused, id, "delivery %q changed while the retry was asked for: read it again", id)
}

// Expired (409): the event's content has outlived its retention.
func Expired(id string) *Error {
	return delivery(PayloadExpired, id, "the payload of delivery %q has outlived its retention: publish the event again", id)
}

func delivery(c Code, id, format string, a ...any) *Error {
	e := Conflict(c, format, a...)
	e.Details = map[string]any{"delivery_id": id}
	return e
}

// KeyInactive (409): an API key that is revoked or expired can't be rotated.
func KeyInactive(id string) *Error {
	e := Conflict(APIKeyInactive, "API key %q is revoked or expired: create a new one", id)
	e.Details = map[string]any{"key_id": id}
	return e
}

// TooManyWebhooks (409): the account has as many as it may have.
func TooManyWebhooks(limit int) *Error {
	e := Conflict(WebhookLimitReached, "the account has %d webhooks, as many as it may have: delete one", limit)
	e.Details = map[string]any{"limit": limit}
	return e
}

// TooManyAPIKeys (409): the account has as many active keys as it may have.
func TooManyAPIKeys(limit int) *Error {
	e := Conflict(APIKeyLimitReached, "the account has %d active API keys, as many as it may have: revoke or delete one", limit)
	e.Details = map[string]any{"limit": limit}
	return e
}

// StaleVersion (412): If-Match names another version.
func StaleVersion(version int64) *Error {
	return &Error{
		Status: http.StatusPreconditionFailed, Code: PreconditionFailed,
		Message: fmt.Sprintf("the version is now %d, not the one that If-Match names: read it again", version),
		Details: map[string]any{"version": version},
	}
}

// TooLarge (413): the body.
func TooLarge(limit int64) *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: RequestTooLarge,
		Message: fmt.Sprintf("the body is larger than the %d bytes allowed here", limit), Details: map[string]any{"limit": limit},
	}
}

// FieldsTooLarge (413): fields with a limit of their own.
func FieldsTooLarge(limit int64, fields []Field) *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: RequestTooLarge,
		Message: fmt.Sprintf("larger than the %d bytes allowed: %s", limit, names(fields)),
		Details: map[string]any{"limit": limit, "fields": fields},
	}
}

// BadContentType (415), with what the operation takes.
func BadContentType(got string, allowed []string) *Error {
	return &Error{
		Status: http.StatusUnsupportedMediaType, Code: ContentTypeUnsupported,
		Message: fmt.Sprintf("content type %q is not taken here: send %s", got, strings.Join(allowed, " or ")),
		Details: map[string]any{"content_type": got, "allowed": allowed},
	}
}

// BadContentCoding (415): compressed bodies are not taken. A few bytes could become all memory there is, and an Idempotency-Key
// is compared by the bytes that came.
func BadContentCoding(got string) *Error {
	return &Error{
		Status: http.StatusUnsupportedMediaType, Code: ContentTypeUnsupported, AcceptEncoding: "identity",
		Message: fmt.Sprintf("content coding %q is not taken: send the body as it is", got),
		Details: map[string]any{"content_encoding": got, "allowed": []string{"identity"}},
	}
}

// TooSlow (408): the body did not come in time.
func TooSlow(cause error) *Error {
	return &Error{
		Status: http.StatusRequestTimeout, Code: RequestTimeout, Close: true, Cause: cause,
		Message: "the request took too long to arrive",
	}
}

// Unreadable is for what is no request that HTTP knows, said before any operation is found: 400, 417, 431 or 501.
func Unreadable(status int, why string) *Error {
	e := &Error{Status: http.StatusBadRequest, Code: RequestMalformed, Close: true, Message: "this is no HTTP request: " + why}
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		e.Status, e.Code, e.Message = status, HeadersTooLarge, "the headers are larger than is allowed"
	case http.StatusExpectationFailed:
		e.Status, e.Code, e.Message = status, ExpectationFailed, "of the header Expect only 100-continue can be met"
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		e.Status, e.Code, e.Message = http.StatusNotImplemented, ProtocolUnsupported, why
	}
	return e
}

// Invalid (422): every offending field.
func Invalid(fields ...Field) *Error {
	return &Error{
		Status: http.StatusUnprocessableEntity, Code: ValidationFailed,
		Message: "not valid: " + names(fields), Details: map[string]any{"fields": fields},
	}
}

// names lists the first fields for the message; details has them all.
func names(fields []Field) string {
	const most = 5
	var s []string
	for i, f := range fields {
		if i == most {
			s = append(s, fmt.Sprintf("and %d more", len(fields)-most))
			break
		}
		name := f.Field
		if name == "" {
			name = f.In
		}
		s = append(s, name+": "+f.Message)
	}
	return strings.Join(s, "; ")
}

// Throttled (429): a limit is reached, and what it is: quota in window (0: at the same time).
func Throttled(limit string, quota int, window, after time.Duration) *Error {
	e := &Error{
		Status: http.StatusTooManyRequests, Code: RateLimited, RetryAfter: max(after, time.Second),
		Details: map[string]any{"limit": limit, "quota": quota},
	}
	if window == 0 {
		e.Message = fmt.Sprintf("too many requests at the same time: %d are answered for one account", quota)
		return e
	}
	e.Details["window_seconds"] = int(math.Ceil(window.Seconds()))
	e.Message = fmt.Sprintf("too much for the limit %q, %d in %s: ask again after %d s", limit, quota, window, e.RetryAfterSeconds())
	return e
}

// Internal (500): a fault of ours; the cause is for the log.
func Internal(cause error) *Error {
	return &Error{
		Status: http.StatusInternalServerError, Code: InternalError,
		Message: "a fault of the service: the request id finds it in its logs", Cause: cause,
	}
}

// NoLog (503): the log can't be reached, or nothing can be made durable.
func NoLog(after time.Duration, cause error) *Error {
	return unavailable(LogUnavailable, "the log can't be reached: nothing was accepted", after, cause)
}

// Unsettled (503): the log went away in the middle, so it is not known whether the request took effect.
func Unsettled(after time.Duration, cause error) *Error {
	e := unavailable(LogUnavailable,
		"the log did not answer in time: it is not known whether this took effect; repeat it with the same Idempotency-Key", after, cause)
	e.Unsettled = true
	return e
}

// NoHistory (503): the history can't be reached.
func NoHistory(after time.Duration, cause error) *Error {
	return unavailable(HistoryUnavailable, "the history can't be reached", after, cause)
}

// NotReady (503): this node is starting, draining or full.
func NotReady(after time.Duration, why string) *Error {
	return unavailable(ServiceUnavailable, why, after, nil)
}

func unavailable(c Code, message string, after time.Duration, cause error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: c, Message: message, RetryAfter: max(after, time.Second), Cause: cause}
}
