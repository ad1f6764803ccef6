package sender

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Result is what became of a Send.
type Result struct {
	Outcome facts.Outcome
	// StatusCode is the answer's, 0 if no header arrived whole. It is set beside
	// timeout, reset, protocol and interrupted too if the answer broke off in its body.
	StatusCode int
	// RequestSent is whether the kernel took a byte of the request (of its TLS
	// records, not of the handshake) on whatever connection.
	RequestSent bool
	// Started is the wall clock's time at the beginning.
	Started time.Time
	// Duration is from then until the Result.
	Duration time.Duration
	// Headers of the answer, sorted by name, with repeated ones in their order; at
	// most 64 lines and 8 KiB. net/http's parser loses the order between names.
	Headers []*facts.Header
	// HeadersTruncated is set if there were more.
	HeadersTruncated bool
	// Body is as much of the answer's body as arrived, up to the limit.
	Body []byte
	// BodyTruncated is set if the body was longer than the limit.
	BodyTruncated bool
	// Error says in a sentence why it is no delivery; empty if it is. It is bounded,
	// valid UTF-8, has no secret and no URL, and shows no address that a name resolved to.
	Error string
	// RetryAfter is what the answer asked for, at most 6 h; 0 if nothing.
	RetryAfter time.Duration
}

// readHead reads past interim answers to the real one.
func readHead(in *input) (*http.Response, error) {
	for range maxInterim + 1 {
		resp, err := http.ReadResponse(in.buffer, nil) // nil: read as for any method but HEAD and CONNECT
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, errInterim
}

// readBody reads to the end or to the limit. Memory grows with what arrives,
// not with what Content-Length promises.
func readBody(r io.Reader, length int64, limit int) (body []byte, whole bool, err error) {
	if length == 0 {
		return nil, true, nil
	}
	size := 512
	if length > 0 {
		size = int(min(length, 4096))
	}
	body = make([]byte, 0, min(size, limit))
	for len(body) < limit {
		if len(body) == cap(body) {
			body = slices.Grow(body, min(len(body)+1, limit-len(body)))
		}
		n, err := r.Read(body[len(body):min(cap(body), limit)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, true, nil
		}
		if err != nil {
			return body, false, err
		}
	}
	if length > int64(limit) {
		return body, false, nil
	}
	var more [1]byte
	for {
		n, err := r.Read(more[:])
		switch {
		case n > 0:
			return body, false, nil
		case err == io.EOF:
			return body, true, nil
		case err != nil:
			return body, false, err
		}
	}
}

func recordHeaders(h http.Header) (lines []*facts.Header, truncated bool) {
	if len(h) == 0 {
		return nil, false
	}
	var room [16]string
	names := room[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	block := make([]facts.Header, min(len(names)+4, maxRecordedHeaders)) // one allocation for nearly every answer
	lines = make([]*facts.Header, 0, len(block))
	size := 0
	for _, name := range names {
		for _, value := range h[name] {
			size += len(name) + len(value)
			if len(lines) == maxRecordedHeaders || size > maxRecordedHeaderBytes {
				return lines, true
			}
			if len(block) == 0 {
				block = make([]facts.Header, maxRecordedHeaders-len(lines))
			}
			line := &block[0]
			block = block[1:]
			// Names are tokens already; values may be any bytes, and facts are UTF-8.
			line.Name, line.Value = name, strings.ToValidUTF8(value, "\uFFFD")
			lines = append(lines, line)
		}
	}
	return lines, false
}

// retryAfter reads seconds or a date. A date is taken relative to the
// receiver's own Date if it has one, so that its clock does not matter.
func retryAfter(h http.Header, now func() time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if strings.Trim(v, "0123456789") == "" {
		seconds, err := strconv.ParseInt(v, 10, 64)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) { // the only error is that it is too large
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		from = now()
	}
	return min(max(at.Sub(from), 0), MaxRetryAfter)
}

// keepAlive is how long the receiver keeps the connection, less a second in
// which a request could cross its closing.
func keepAlive(h http.Header) time.Duration {
	const long = time.Hour // the pool's own limit is shorter
	for _, v := range h["Keep-Alive"] {
		for p := range strings.SplitSeq(v, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			if !strings.EqualFold(name, "timeout") {
				continue
			}
			seconds, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return long
			}
			t := time.Duration(seconds) * time.Second
			return max(t-time.Second, t/2)
		}
	}
	return long
}
