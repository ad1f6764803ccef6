package engine

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// answerBuffer is how much of an answer is held back before the first byte is
// sent, so that an error in it still gets its own status.
const answerBuffer = 1 << 20

// answer is one HTTP response.
type answer struct {
	w    http.ResponseWriter
	held []byte
	sent bool
}

func (a *answer) header(req *request) {
	h := a.w.Header()
	h.Set("X-ClickHouse-Query-Id", req.queryID)
	h.Set("X-ClickHouse-Format", req.format)
	h.Set("X-ClickHouse-Timezone", "UTC")
	h.Set("Content-Type", "application/octet-stream")
}

// write takes the next bytes of the answer; they are copied.
func (a *answer) write(b []byte) error {
	if !a.sent && len(a.held)+len(b) <= answerBuffer {
		a.held = append(a.held, b...)
		return nil
	}
	if err := a.flush(); err != nil {
		return err
	}
	return a.push(b)
}

func (a *answer) push(b []byte) error {
	if err := a.extend(); err != nil {
		return err
	}
	_, err := a.w.Write(b)
	return err
}

// extend gives the client time for what is written next. The deadline belongs to
// the connection and outlives a request, so it is set anew before every answer,
// also an empty one.
func (a *answer) extend() error {
	if err := http.NewResponseController(a.w).SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("setting the connection's write deadline: %w", err)
	}
	return nil
}

func (a *answer) flush() error {
	a.sent = true
	if len(a.held) == 0 {
		return nil
	}
	err := a.push(a.held)
	a.held = nil
	return err
}

// finish sends what is held. An answer that fits is sent with its length, which
// is how clickhouse-go knows an empty one.
func (a *answer) finish() error {
	if err := a.extend(); err != nil {
		return err
	}
	if !a.sent {
		a.w.Header().Set("Content-Length", strconv.Itoa(len(a.held)))
	}
	return a.flush()
}

// frame puts an exception behind data that was sent, in ClickHouse's framing,
// which breaks every format's decoder and is searched for by clients. The
// connection is cut after it, so that nobody takes the answer for whole.
func (a *answer) frame(ex *Exception) {
	const tag = "hookledgerengine" // 16 bytes, as clients expect
	message := ex.Message
	if len(message) > 15<<10 {
		message = message[:15<<10]
	}
	_, _ = fmt.Fprintf(a.w, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", tag, message, len(message), tag)
}
