package sender

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"hookledger/consumers/sender/egress"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// phase is how far a Send had come when it broke.
type phase int

const (
	connecting  phase = iota // name resolution and TCP
	handshaking              // TLS
	writing
	waiting // for the answer's header
	reading // the answer's body
)

func (p phase) String() string {
	return [...]string{
		"connecting", "the TLS handshake", "sending the request", "waiting for the answer", "reading the answer's body",
	}[p]
}

var errInterim = fmt.Errorf("more than %d interim (1xx) answers", maxInterim)

// settle sets the outcome of an answer that arrived.
func (r *Result) settle(location bool) {
	switch {
	case r.StatusCode >= 200 && r.StatusCode < 300:
		r.Outcome = facts.Outcome_OUTCOME_DELIVERED
	case r.StatusCode >= 300 && r.StatusCode < 400 && location:
		r.fail(facts.Outcome_OUTCOME_HTTP_STATUS, fmt.Sprintf("the receiver answered %d, a redirect: redirects are not followed, give the webhook the URL that it points to", r.StatusCode))
	default:
		r.fail(facts.Outcome_OUTCOME_HTTP_STATUS, strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", r.StatusCode, http.StatusText(r.StatusCode))))
	}
}

// fail sets an outcome and its sentence, made safe to store and show.
func (r *Result) fail(outcome facts.Outcome, text string) {
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > maxErrorBytes {
		cut := maxErrorBytes
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	r.Outcome, r.Error = outcome, text
}

// classify turns a failure into an outcome. The sentences are our own, without
// addresses and ports: net's name our ephemeral port, so that no two are equal,
// and the resolver, which is no business of a tenant's.
func (t *try) classify(at phase, err error) {
	r, ctx := &t.res, t.ctx
	if blocked, ok := errors.AsType[*egress.BlockedError](err); ok {
		where := "the host name resolves to an address that"
		if t.target.Literal {
			where = "the URL's address"
		}
		r.fail(facts.Outcome_OUTCOME_BLOCKED, fmt.Sprintf("not sent: %s is not allowed (%s): %s", where, blocked.Reason, blocked.Remedy))
		return
	}
	if port, ok := errors.AsType[*egress.PortError](err); ok {
		r.fail(facts.Outcome_OUTCOME_BLOCKED, "not sent: "+port.Error())
		return
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	ended := isTimeout(err) || errors.Is(err, context.Canceled) // by a deadline, the context's or ours
	if (ended || isDNS) && errors.Is(ctx.Err(), context.Canceled) {
		r.fail(facts.Outcome_OUTCOME_INTERRUPTED, fmt.Sprintf("interrupted while %s: %v", at, context.Cause(ctx)))
		return
	}
	switch {
	case isDNS && dns.IsNotFound:
		r.fail(facts.Outcome_OUTCOME_DNS, "the host name does not resolve: it has no address in DNS")
	case isDNS && dns.IsTimeout:
		r.fail(facts.Outcome_OUTCOME_DNS, "the host name does not resolve: DNS did not answer in time")
	case isDNS:
		r.fail(facts.Outcome_OUTCOME_DNS, "the host name does not resolve: its DNS servers answer with an error")
	case ended:
		r.fail(facts.Outcome_OUTCOME_TIMEOUT, fmt.Sprintf("no answer in time: the deadline passed while %s", at))
	case errors.Is(err, errHeaderTooLarge), errors.Is(err, errInterim):
		r.fail(facts.Outcome_OUTCOME_PROTOCOL, err.Error())
	case errors.Is(err, syscall.ECONNREFUSED):
		r.fail(facts.Outcome_OUTCOME_REFUSED, "the connection was refused: nothing listens on that port")
	case at == connecting:
		r.connectFailure(err)
	case isClosed(err):
		how := "closed"
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNABORTED) {
			how = "reset"
		}
		r.fail(facts.Outcome_OUTCOME_RESET, fmt.Sprintf("the receiver %s the connection while %s", how, at))
	case at == handshaking, isAlert(err):
		r.fail(facts.Outcome_OUTCOME_TLS, "TLS failed: "+tlsReason(err))
	case at == writing:
		r.fail(facts.Outcome_OUTCOME_RESET, "the request could not be sent: "+reason(err))
	default:
		r.fail(facts.Outcome_OUTCOME_PROTOCOL, fmt.Sprintf("the answer is not valid HTTP/1.1 (%s): %s", at, reason(err)))
	}
}

// connectFailure is for what is neither refused nor late.
func (r *Result) connectFailure(err error) {
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNABORTED):
		r.fail(facts.Outcome_OUTCOME_RESET, "the connection was reset while connecting")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		r.fail(facts.Outcome_OUTCOME_UNREACHABLE, "not sent: this node is out of file descriptors; the operator can raise its limit (ulimit -n)")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		r.fail(facts.Outcome_OUTCOME_UNREACHABLE, "not sent: this node has no free local port or address for the connection")
	default:
		r.fail(facts.Outcome_OUTCOME_UNREACHABLE, "the receiver can't be reached: "+reason(err))
	}
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout() // ETIMEDOUT, when the kernel gave up
}

func isClosed(err error) bool {
	for _, e := range [...]error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isAlert finds TLS failures after the handshake: with TLS 1.3 a receiver that
// misses a client certificate says so only then.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "remote error" || op.Op == "local error")
}

func tlsReason(err error) string {
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return e.Msg + ": does the receiver speak https on that port?"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		// x509's own sentence has the current time in it.
		return fmt.Sprintf("a certificate is not valid now, only from %s to %s", e.Cert.NotBefore.UTC().Format(time.RFC3339), e.Cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return reason(err)
}

// reason is the innermost cause, without net's addresses.
func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}
