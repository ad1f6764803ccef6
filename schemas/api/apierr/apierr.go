// Package apierr is the one shape in which the API says that something did not work, as a Go error.
//
// It promises that every error an answer can carry is made here, with a code of one closed list (the enum
// ErrorCode of the specification; a test holds the two equal), a fixed HTTP status per code, and `details`
// that is always an object. It never holds a cause that must not be shown: the cause stays in [Error.Cause], for
// the log, and is not written to the client.
//
// It lies apart from package api so that what answers questions below the API (history, subscriptions) could name a
// code without importing generated HTTP code.
package apierr

import (
	"encoding/json"
	"math"
	"net/http"
	"time"
)

// Code is one of the closed list of error codes.
type Code string

// The codes. Adding one means adding it to ErrorCode in openapi.yaml and to [Codes].
const (
	RequestMalformed         Code = "request_malformed"
	AuthenticationRequired   Code = "authentication_required"
	AuthenticationInvalid    Code = "authentication_invalid"
	ScopeInsufficient        Code = "permission_scope_insufficient"
	JWTRequired              Code = "permission_jwt_required"
	PathNotFound             Code = "resource_path_not_found"
	WebhookNotFound          Code = "resource_webhook_not_found"
	DeliveryNotFound         Code = "resource_delivery_not_found"
	EventNotFound            Code = "resource_event_not_found"
	APIKeyNotFound           Code = "resource_api_key_not_found"
	MethodNotAllowed         Code = "method_not_allowed"
	VersionConflict          Code = "webhook_version_conflict"
	WebhookLimitReached      Code = "webhook_limit_reached"
	APIKeyLimitReached       Code = "api_key_limit_reached"
	IdempotencyMismatch      Code = "idempotency_request_mismatch"
	IdempotencyInProgress    Code = "idempotency_in_progress"
	EventIDConflict          Code = "event_id_conflict"
	DeliveryAlreadyDelivered Code = "delivery_already_delivered"
	DeliveryWebhookDeleted   Code = "delivery_webhook_deleted"
	DeliveryRetryRefused     Code = "delivery_retry_refused"
	PayloadExpired           Code = "payload_expired"
	APIKeyInactive           Code = "api_key_inactive"
	PreconditionFailed       Code = "precondition_failed"
	RequestTimeout           Code = "request_timeout"
	RequestTooLarge          Code = "request_too_large"
	HeadersTooLarge          Code = "request_headers_too_large"
	ExpectationFailed        Code = "expectation_failed"
	ProtocolUnsupported      Code = "protocol_unsupported"
	ContentTypeUnsupported   Code = "content_type_unsupported"
	ValidationFailed         Code = "validation_failed"
	RateLimited              Code = "rate_limited"
	InternalError            Code = "internal_error"
	LogUnavailable           Code = "log_unavailable"
	HistoryUnavailable       Code = "history_unavailable"
	ServiceUnavailable       Code = "service_unavailable"
)

// Codes returns every code with its HTTP status, in the order of the specification.
func Codes() []struct {
	Code   Code
	Status int
} {
	return []struct {
		Code   Code
		Status int
	}{
		{RequestMalformed, http.StatusBadRequest},
		{AuthenticationRequired, http.StatusUnauthorized},
		{AuthenticationInvalid, http.StatusUnauthorized},
		{ScopeInsufficient, http.StatusForbidden},
		{JWTRequired, http.StatusForbidden},
		{PathNotFound, http.StatusNotFound},
		{WebhookNotFound, http.StatusNotFound},
		{DeliveryNotFound, http.StatusNotFound},
		{EventNotFound, http.StatusNotFound},
		{APIKeyNotFound, http.StatusNotFound},
		{MethodNotAllowed, http.StatusMethodNotAllowed},
		{VersionConflict, http.StatusConflict},
		{WebhookLimitReached, http.StatusConflict},
		{APIKeyLimitReached, http.StatusConflict},
		{IdempotencyMismatch, http.StatusConflict},
		{IdempotencyInProgress, http.StatusConflict},
		{EventIDConflict, http.StatusConflict},
		{DeliveryAlreadyDelivered, http.StatusConflict},
		{DeliveryWebhookDeleted, http.StatusConflict},
		{DeliveryRetryRefused, http.StatusConflict},
		{PayloadExpired, http.StatusConflict},
		{APIKeyInactive, http.StatusConflict},
		{PreconditionFailed, http.StatusPreconditionFailed},
		{RequestTimeout, http.StatusRequestTimeout},
		{RequestTooLarge, http.StatusRequestEntityTooLarge},
		{HeadersTooLarge, http.StatusRequestHeaderFieldsTooLarge},
		{ExpectationFailed, http.StatusExpectationFailed},
		{ProtocolUnsupported, http.StatusNotImplemented},
		{ContentTypeUnsupported, http.StatusUnsupportedMediaType},
		{ValidationFailed, http.StatusUnprocessableEntity},
		{RateLimited, http.StatusTooManyRequests},
		{InternalError, http.StatusInternalServerError},
		{LogUnavailable, http.StatusServiceUnavailable},
		{HistoryUnavailable, http.StatusServiceUnavailable},
		{ServiceUnavailable, http.StatusServiceUnavailable},
	}
}

// Error is an answer that is not a success. It is a Go error, found with errors.As.
type Error struct {
	Status  int
	Code    Code
	Message string
	// Details is written as an object; nil as an empty one.
	Details map[string]any
	// RetryAfter, if not zero, is written as the header Retry-After and as error.retry_after, in whole seconds, rounded up.
	RetryAfter time.Duration
	// Allow, if not empty, is written as the header Allow (405).
	Allow string
	// Unsettled says that it is not known whether the request took effect. It is not written.
	Unsettled bool
	// AcceptEncoding, if not empty, is written as the header Accept-Encoding (415).
	AcceptEncoding string
	// Close ends the connection after the answer: what follows on it can't be told from what is left of this request.
	Close bool
	// Cause is for the log only.
	Cause error
}

// Error says the code, the message and the cause: what the log needs.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Message
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// RetryAfterSeconds is RetryAfter in whole seconds, rounded up, 0 if there is none.
func (e *Error) RetryAfterSeconds() int {
	if e.RetryAfter <= 0 {
		return 0
	}
	return int(math.Ceil(e.RetryAfter.Seconds()))
}

// Body is e as JSON, in the one shape.
func (e *Error) Body(requestID string) ([]byte, error) {
	details := e.Details
	if details == nil {
		details = map[string]any{}
	}
	type body struct {
		Code       Code           `json:"code"`
		Message    string         `json:"message"`
		Details    map[string]any `json:"details"`
		RequestID  string         `json:"request_id"`
		RetryAfter int            `json:"retry_after,omitempty"`
	}
	return json.Marshal(struct {
		Error body `json:"error"`
	}{body{e.Code, e.Message, details, requestID, e.RetryAfterSeconds()}})
}

// Field is one offending field of a request; see FieldError in the specification.
type Field struct {
	// In is body, query, header or path.
	In string `json:"in"`
	// Field is a JSON pointer in the body (empty: the body itself), elsewhere the parameter's name.
	Field      string   `json:"field"`
	Message    string   `json:"message"`
	Allowed    []string `json:"allowed,omitempty"`
	Suggestion string   `json:"suggestion,omitempty"`
}
