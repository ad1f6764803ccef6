package hookledger

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	firstWait   = 500 * time.Millisecond
	longestWait = 8 * time.Second

	idempotencyKey = "Idempotency-Key"
)

// doer sends what the generated code made: with credentials and an idempotency key, again where that is safe, until there is
// a success or an error.
type doer struct {
	config    Config
	client    *http.Client
	firstWait time.Duration
}

// Do returns a success, its body read, or an error: [*Error] for an answer that is none.
func (d *doer) Do(req *http.Request) (*http.Response, error) {
	if req.Header.Get(idempotencyKey) == "" && (req.Method == http.MethodPost || req.Method == http.MethodPatch) {
		req.Header.Set(idempotencyKey, uuid.NewString())
	}
	req.Header.Set("User-Agent", d.config.UserAgent)
	var perhapsDone bool
	for try := 1; ; try++ {
		resp, err := d.once(req)
		if err == nil && resp.StatusCode == http.StatusNotFound && req.Method == http.MethodDelete && perhapsDone {
			return deletedBefore(resp), nil
		}
		if err == nil && (resp.StatusCode < 300 || resp.StatusCode == http.StatusNotModified) {
			return resp, nil
		}
		var again bool
		after := time.Duration(-1)
		if err != nil {
			again = req.Context().Err() == nil && repeatable(err)
			perhapsDone = perhapsDone || begun(err)
			err = &callError{req: req, err: err}
		} else {
			e := errorOf(resp)
			again, after = e.temporary(), e.RetryAfter
			perhapsDone = perhapsDone || resp.StatusCode >= 500
			err = e
		}
		if !again || try > d.config.MaxRetries || after > d.config.MaxWait {
			return nil, err
		}
		wait := min(longestWait, d.firstWait<<min(try-1, 10))
		wait = wait/2 + rand.N(wait/2+1)
		if after >= 0 { // never earlier than asked for, and not all at once
			wait = after + wait/4
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-req.Context().Done():
			timer.Stop()
			return nil, err
		}
	}
}

// once is one try. The body of the answer is read here, so that losing it counts as the try's failure.
func (d *doer) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), d.config.Timeout)
	defer cancel()
	try := req.Clone(ctx)
	if req.GetBody != nil {
		var err error
		if try.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	if err := d.authorise(try); err != nil {
		return nil, &tokenError{err}
	}
	resp, err := d.client.Do(try)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// authorise uses the token where only a token will do, or where there is no API key.
func (d *doer) authorise(req *http.Request) error {
	keys := strings.Contains(req.URL.Path, "/api/v2/api-keys")
	if d.config.Token != nil && (keys || d.config.APIKey == "") {
		token, err := d.config.Token(req.Context())
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	} else if d.config.APIKey != "" {
		req.Header.Set("X-API-Key", d.config.APIKey)
	}
	return nil
}

// deletedBefore turns the 404 of a repeated deletion into the success whose answer was lost.
func deletedBefore(resp *http.Response) *http.Response {
	resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
	resp.Header.Set("Content-Type", "application/json")
	resp.Body = io.NopCloser(strings.NewReader(`{"message":"an earlier try of this request, whose answer was lost, has deleted it"}`))
	return resp
}

// tokenError is a failure of Config.Token, which is not asked again.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "get a token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

// callError says which call had no answer, and with which key it can be repeated.
type callError struct {
	req *http.Request
	err error
}

func (e *callError) Error() string {
	s := "call Hookledger: " + e.err.Error()
	if key := e.req.Header.Get(idempotencyKey); key != "" {
		s += " (" + idempotencyKey + " " + key + ")"
	}
	return s
}
func (e *callError) Unwrap() error { return e.err }

// IdempotencyKeyOf is the key with which the request behind an error was sent: repeat the same call with it, within 24 hours,
// to get the answer that was lost. It is empty for what has none.
func IdempotencyKeyOf(err error) string {
	if call, ok := errors.AsType[*callError](err); ok {
		return call.req.Header.Get(idempotencyKey)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.IdempotencyKey
	}
	return ""
}

// repeatable says whether another try could end otherwise. Every request of the API may be repeated: see package comment.
func repeatable(err error) bool {
	if _, ok := errors.AsType[*tokenError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	return true
}

// begun says whether a request may have reached the service.
func begun(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return !ok || op.Op != "dial"
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3); negative if there is nothing to be understood.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return -1
	}
	if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return -1
}
