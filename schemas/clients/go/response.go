package hookledger

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
)

// Response is what an answer said beside its body.
type Response struct {
	StatusCode int
	Header     http.Header
	// NotModified: the version that If-None-Match named is still the present one, and there is no value.
	NotModified bool
	// RequestID names the request in the service's logs.
	RequestID string
	// ETag is the version of what was returned, for If-Match and If-None-Match.
	ETag string
	// NextCursor is where the next page begins; nil on the last.
	NextCursor *Cursor
	// IdempotencyKey is what the request was sent with; Replayed, that this is the recorded answer to an earlier one.
	IdempotencyKey string
	Replayed       bool
}

// finish decodes a success. A T of string is the body as it is.
func finish[T any](resp *http.Response, err error) (T, *Response, error) {
	var value T
	if err != nil {
		return value, nil, err
	}
	defer resp.Body.Close()
	r := &Response{
		StatusCode: resp.StatusCode, Header: resp.Header, NotModified: resp.StatusCode == http.StatusNotModified,
		RequestID: resp.Header.Get("X-Request-ID"), ETag: resp.Header.Get("ETag"),
		Replayed: resp.Header.Get("Idempotency-Replayed") == "true",
	}
	if resp.Request != nil {
		r.IdempotencyKey = resp.Request.Header.Get(idempotencyKey)
	}
	if next := resp.Header.Get("X-Next-Cursor"); next != "" {
		r.NextCursor = &next
	}
	if r.NotModified {
		return value, r, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return value, r, err
	}
	if text, ok := any(&value).(*string); ok {
		*text = string(body)
		return value, r, nil
	}
	if err := json.Unmarshal(body, &value); err != nil {
		var none T
		return none, r, fmt.Errorf("status %d with a body that is not the API's: %w", resp.StatusCode, err)
	}
	return value, r, nil
}

// Pages goes over the items of a list. An error is the last that comes.
type Pages[T any] = iter.Seq2[T, error]

// pages asks for pages until there is none left or the caller has enough.
func pages[T any](cursor *Cursor, page func(*Cursor) ([]T, *Response, error)) Pages[T] {
	return func(yield func(T, error) bool) {
		next := cursor
		for {
			items, resp, err := page(next)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next = resp.NextCursor; next == nil {
				return
			}
		}
	}
}
