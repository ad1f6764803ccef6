package hookledger

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Error is an answer that is not a success. Find it with errors.As, and compare its Code:
//
//	if e, ok := errors.AsType[*hookledger.Error](err); ok && e.Code == hookledger.ErrorCodeResourceWebhookNotFound
type Error struct {
	// StatusCode is HTTP's.
	StatusCode int
	// Code is one of a closed list; empty if the answer was not the API's, but a proxy's or /readyz's: then Body has it.
	Code    ErrorCode
	Message string
	// Details is what there is to know about it, by code.
	Details map[string]any
	// Fields is every offending field, with 422.
	Fields []FieldError
	// RequestID finds it in the service's logs.
	RequestID string
	// RetryAfter is how long to wait before asking again; negative if the service did not say.
	RetryAfter time.Duration
	// IdempotencyKey is what the request was sent with.
	IdempotencyKey string
	// Body is the answer as it came.
	Body []byte
}

// Error says the code, the message and the request's id.
func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("status %d without the API's error body: is this Hookledger, and nothing in between? %.200q", e.StatusCode, e.Body)
	}
	return fmt.Sprintf("%s: %s (request %s)", e.Code, e.Message, e.RequestID)
}

// temporary says whether the same request may have another answer soon.
func (e *Error) temporary() bool {
	switch e.StatusCode {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return e.Code == ErrorCodeIdempotencyInProgress
}

// errorOf reads the error that an answer carries.
func errorOf(resp *http.Response) *Error {
	e := &Error{
		StatusCode: resp.StatusCode, RequestID: resp.Header.Get("X-Request-ID"),
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}
	if resp.Request != nil {
		e.IdempotencyKey = resp.Request.Header.Get(idempotencyKey)
	}
	e.Body, _ = io.ReadAll(resp.Body)
	var said struct {
		Error struct {
			Code       ErrorCode       `json:"code"`
			Message    string          `json:"message"`
			Details    json.RawMessage `json:"details"`
			RetryAfter *float64        `json:"retry_after"`
		} `json:"error"`
	}
	if json.Unmarshal(e.Body, &said) != nil || said.Error.Code == "" {
		return e
	}
	e.Code, e.Message = said.Error.Code, said.Error.Message
	if after := said.Error.RetryAfter; e.RetryAfter < 0 && after != nil && *after >= 0 && *after < 1e9 {
		e.RetryAfter = time.Duration(*after * float64(time.Second))
	}
	// Details of another form than this version knows are no reason to lose the rest.
	_ = json.Unmarshal(said.Error.Details, &e.Details)
	var details struct {
		Fields []FieldError `json:"fields"`
	}
	if json.Unmarshal(said.Error.Details, &details) == nil {
		e.Fields = details.Fields
	}
	return e
}
