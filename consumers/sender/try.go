package sender

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"hookledger/consumers/sender/egress"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Send makes one attempt and says what became of it. It never fails: every
// failure is an outcome. It returns when the answer is read, the Timeout is
// over, or ctx is done: past its deadline is a timeout, cancelled is
// interrupted, with context.Cause in the error.
func (s *Sender) Send(ctx context.Context, req Request) Result {
	begin := time.Now()
	t := try{s: s, ctx: ctx, deadline: begin.Add(s.timeout), res: Result{Started: s.now()}}
	t.send(&req)
	t.res.Duration = time.Since(begin)
	return t.res
}

// try is one Send under way.
type try struct {
	s        *Sender
	ctx      context.Context //nolint:containedctx // it lives as long as the call that brought it
	deadline time.Time
	target   egress.Target
	out      *[]byte // header, and the body unless it is large; nil once it was written
	large    []byte  // the body, if it is written apart
	res      Result
}

func (t *try) send(req *Request) {
	var err error
	if t.target, err = t.s.target(req.URL); err != nil {
		t.res.fail(facts.Outcome_OUTCOME_BLOCKED, "not sent: "+err.Error())
		return
	}
	t.out = t.s.outputs.Get().(*[]byte)
	defer t.release()
	if *t.out, err = t.s.appendHead((*t.out)[:0], &t.target, req, t.res.Started); err != nil {
		t.res.fail(facts.Outcome_OUTCOME_BLOCKED, "not sent: "+err.Error())
		return
	}
	if len(req.Body) <= inlineBody {
		*t.out = append(*t.out, req.Body...) // one system call, one TLS record
	} else {
		t.large = req.Body
	}
	if t.ctx.Err() != nil {
		t.classify(connecting, t.ctx.Err())
		return
	}
	if again := t.attempt(false); again {
		// The kept connection took no byte of the request, so nothing was sent, and
		// with a fresh one it is still one request on the wire.
		t.s.again.Add(1)
		t.res = Result{Started: t.res.Started}
		t.attempt(true)
	}
}

// release gives the request's buffer back, so that a try that waits for its
// answer holds no copy of the body.
func (t *try) release() {
	if t.out != nil {
		t.s.outputs.Put(t.out)
		t.out = nil
	}
}

// attempt goes through with one connection. It reports true if that was a kept
// one which took not a byte.
func (t *try) attempt(fresh bool) (again bool) {
	c, reused, err := t.s.open(t.ctx, &t.target, t.deadline, fresh)
	if err != nil {
		t.classify(connecting, err)
		return false
	}
	stop := func() bool { return true }
	if t.ctx.Done() != nil {
		stop = context.AfterFunc(t.ctx, c.cut)
	}
	keep, at, err := t.exchange(c)
	uncut := stop()
	if err != nil {
		t.classify(at, err)
		c.drop()
		return reused && at == writing && !t.res.RequestSent && t.res.Outcome == facts.Outcome_OUTCOME_RESET
	}
	if keep > 0 && uncut {
		t.s.pool.put(c, keep)
	} else {
		c.drop()
	}
	return false
}

// exchange writes the request and reads the answer. keep is how long the
// connection may be kept; an error comes with the phase in which it broke.
func (t *try) exchange(c *conn) (keep time.Duration, at phase, err error) {
	if err := c.handshake(); err != nil {
		return 0, handshaking, err
	}
	if !time.Now().Before(t.deadline) { // the process slept, and the timer of the connection's deadline has yet to fire
		return 0, writing, os.ErrDeadlineExceeded
	}
	c.wire.sent = 0
	_, writeErr := c.rw.Write(*t.out)
	t.res.RequestSent = c.wire.sent > 0
	if writeErr != nil && !t.res.RequestSent {
		return 0, writing, writeErr
	}
	t.release()
	if t.large != nil && writeErr == nil {
		keep, at, err, writeErr = t.exchangeLarge(c)
	} else {
		keep, at, err = t.answer(c)
	}
	if writeErr != nil { // an answer that came nevertheless stands
		keep = 0
		if at == waiting {
			return 0, writing, writeErr
		}
	}
	return keep, at, err
}

// writerPatience is how long a whole answer waits for the writer to say that it
// is done: nearly always it is, and only has not been scheduled.
const writerPatience = 50 * time.Millisecond

// exchangeLarge writes the body beside reading: a receiver may answer without
// reading a large one, and then waits for us to read. The answer ends the writing.
func (t *try) exchangeLarge(c *conn) (keep time.Duration, at phase, err, writeErr error) {
	written := make(chan error, 1)
	go func(w io.Writer, body []byte) {
		_, err := w.Write(body)
		written <- err
	}(c.rw, t.large)
	keep, at, err = t.answer(c)
	patience := time.Duration(0)
	if keep > 0 {
		patience = writerPatience
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case writeErr = <-written:
	case <-timer.C:
		c.cut()
		writeErr = <-written
		keep = 0
	}
	return keep, at, err, writeErr
}

// answer reads the answer and settles the outcome.
func (t *try) answer(c *conn) (keep time.Duration, at phase, err error) {
	in := t.s.inputs.Get().(*input)
	in.attach(c.rw)
	defer func() {
		in.attach(nil)
		t.s.inputs.Put(in)
	}()
	resp, err := readHead(in) //nolint:bodyclose // the connection is ours: it is read to the body's end, or dropped
	if err != nil {
		return 0, waiting, in.cause(err)
	}
	in.limit = -1
	res := &t.res
	res.StatusCode = resp.StatusCode
	res.Headers, res.HeadersTruncated = recordHeaders(resp.Header)
	res.RetryAfter = retryAfter(resp.Header, t.s.now)
	if resp.StatusCode == http.StatusSwitchingProtocols { // what follows is not HTTP
		res.settle(false)
		return 0, reading, nil
	}
	var whole bool
	res.Body, whole, err = readBody(resp.Body, resp.ContentLength, t.s.maxBody)
	if err != nil {
		return 0, reading, in.cause(err)
	}
	res.BodyTruncated = !whole
	res.settle(resp.Header.Get("Location") != "")
	if !whole || resp.Close || in.buffer.Buffered() > 0 {
		return 0, reading, nil
	}
	return keepAlive(resp.Header), reading, nil
}

// input reads one answer: a buffer over a limit on what its header may take.
type input struct {
	buffer *bufio.Reader
	from   io.Reader
	limit  int   // bytes that may still be read; negative is no limit
	ended  error // why reading ended, if it did
}

func newInput() *input {
	in := &input{}
	in.buffer = bufio.NewReaderSize(in, 4096)
	return in
}

func (in *input) attach(from io.Reader) {
	// A whole buffer more: the last read may have taken that much of the body.
	in.from, in.limit, in.ended = from, MaxHeaderBytes+in.buffer.Size(), nil
	in.buffer.Reset(in)
}

var errHeaderTooLarge = fmt.Errorf("the answer's header is larger than %d bytes", MaxHeaderBytes)

func (in *input) Read(b []byte) (n int, err error) {
	if in.limit == 0 {
		in.ended = errHeaderTooLarge
		return 0, in.ended
	}
	if in.limit > 0 {
		b = b[:min(len(b), in.limit)]
	}
	n, in.ended = in.from.Read(b)
	if in.limit > 0 {
		in.limit -= n
	}
	return n, in.ended
}

// cause prefers why the bytes stopped to what the parser made of a line that
// they stopped in: bufio hands it the half line without the error.
func (in *input) cause(err error) error {
	if in.ended != nil {
		return in.ended
	}
	return err
}
