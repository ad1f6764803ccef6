package receivertest

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Answer is what the receiver does with a request. Its zero value is an empty 200.
type Answer struct {
	// Delay passes before anything is sent.
	Delay time.Duration
	// Status is the answer's status, 200 if 0.
	Status int
	// Header are lines to add, each "Name: value".
	Header []string
	// Body of the answer; Content-Length is set from it.
	Body string
	// Raw, if set, is sent instead of status, header and body.
	Raw string
	// Silent sends nothing at all.
	Silent bool
	// Then says what happens after that.
	Then Ending
}

// Ending is what the receiver does with the connection after its answer.
type Ending int

const (
	// KeepAlive waits for the next request.
	KeepAlive Ending = iota
	// Close closes the connection in the orderly way.
	Close
	// Reset makes the kernel send RST.
	Reset
	// Hang keeps the connection open and silent until the sender or Close ends it.
	Hang
)

// Sequence answers requests with the given answers in turn, and with the last
// one from then on.
func Sequence(answers ...Answer) func(*Request) Answer {
	var n atomic.Int64
	return func(*Request) Answer {
		return answers[min(int(n.Add(1)), len(answers))-1]
	}
}

// append composes the answer's bytes.
func (a Answer) append(b []byte) []byte {
	if a.Silent {
		return b
	}
	if a.Raw != "" {
		return append(b, a.Raw...)
	}
	status := a.Status
	if status == 0 {
		status = http.StatusOK
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	for _, line := range a.Header {
		b = append(b, "\r\n"...)
		b = append(b, line...)
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(a.Body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	return append(b, a.Body...)
}
