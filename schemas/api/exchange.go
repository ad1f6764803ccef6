package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"hookledger/schemas/api/apierr"
)

// exchange is what is known of one request and its answer on its way through the handler: one value in the context.
type exchange struct {
	requestID string
	op        *Operation
	body      []byte
	events    []NewEvent
	err       error
}

type exchangeKey struct{}

// of returns the request's exchange; outside of [Spec.Handler] an empty one, so that a handler can be tested alone.
func of(ctx context.Context) *exchange {
	if ex, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return ex
	}
	return &exchange{}
}

// RequestID names the request: what X-Request-ID says.
func RequestID(ctx context.Context) string { return of(ctx).requestID }

// OperationOf is the operation that the request is for; the zero value where there is none (an unknown path).
func OperationOf(ctx context.Context) Operation {
	if op := of(ctx).op; op != nil {
		return *op
	}
	return Operation{}
}

// Body is the request's body as it came, judged: what an Idempotency-Key is compared by. Nil if the
// operation takes none. Callers must not change it.
func Body(ctx context.Context) []byte { return of(ctx).body }

// Events are the events of POST /events; their Data shares memory with [Body].
func Events(ctx context.Context) []NewEvent { return of(ctx).events }

// Decode reads the request's body into one of the generated types; an empty body, where it is allowed, leaves it
// as it is. An error is a fault of ours, for the body was judged before.
func Decode(ctx context.Context, into any) error {
	body := Body(ctx)
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return apierr.Internal(err)
	}
	return nil
}

// WriteJSON answers with v. What is verbatim in v keeps its numbers and its characters (no HTML escapes); only white
// space between its tokens goes.
func WriteJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		WriteError(w, r, apierr.Internal(err))
		return
	}
	WriteBody(w, status, b.Bytes())
}

// WriteBody answers with JSON that is already written: a recorded answer, which must be the same bytes again.
func WriteBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaJSON)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away is no fault of ours
}

// WriteError answers with err in the one shape and keeps it for Observe, which logs it once. What is not an
// [apierr.Error] is a fault of ours: 500, and the client is not told what it says.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	ex := of(r.Context())
	var e *apierr.Error
	if !errors.As(err, &e) {
		if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
			e = apierr.NotReady(0, "the request was given up before it was answered")
			e.Cause = err
		} else {
			e = apierr.Internal(err)
		}
	}
	ex.err = e
	body, err := e.Body(ex.requestID)
	if err != nil { // details that are no JSON: never lose the answer over them
		ex.err = errors.Join(e, err)
		bare := apierr.Error{Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter}
		body, _ = bare.Body(ex.requestID)
	}
	h := w.Header()
	h.Del("ETag")
	h.Set("Cache-Control", "no-store")
	if s := e.RetryAfterSeconds(); s > 0 {
		h.Set("Retry-After", strconv.Itoa(s))
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.AcceptEncoding != "" {
		h.Set("Accept-Encoding", e.AcceptEncoding)
	}
	if e.Close {
		h.Set("Connection", "close")
	}
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="hookledger"`)
	}
	WriteBody(w, e.Status, body)
}

// NextPage says in the headers where the next page is; an empty cursor says nothing.
func NextPage(w http.ResponseWriter, r *http.Request, cursor string) {
	if cursor == "" {
		return
	}
	q := r.URL.Query()
	q.Set("cursor", cursor)
	w.Header().Set("X-Next-Cursor", cursor)
	w.Header().Set("Link", "<"+r.URL.EscapedPath()+"?"+q.Encode()+`>; rel="next"`)
}
