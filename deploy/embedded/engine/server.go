package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A request must bring its body, and a client must take the next piece of its
// answer, within these times; else it loses its place.
const (
	bodyTimeout  = time.Minute
	writeTimeout = 5 * time.Minute
)

// The users of the interface.
const (
	UserService = "service" // reads and writes
	UserAuditor = "auditor" // reads
)

// server is ClickHouse's HTTP interface over the library. A request gets a
// session of its own, so that nothing that a statement sets, uses or creates for
// a session is seen by another.
type server struct {
	engine   *boot
	version  string
	timezone string
	secrets  map[string][sha256.Size]byte // by user
	log      *slog.Logger

	service slots
	auditor slots
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{w: w}
	var err error
	switch r.URL.Path {
	case "/ping":
		err = a.write([]byte("Ok.\n"))
	case "/":
		err = s.serve(a, r)
	default:
		err = refuse(codeNoHandler, "HTTP_UNKNOWN_PATH", "There is no handle "+r.URL.Path)
	}
	if err == nil {
		err = a.finish()
	}
	if err != nil {
		s.fail(a, r, err)
	}
}

func (s *server) serve(a *answer, r *http.Request) error {
	user, ok := s.authenticate(r)
	if !ok {
		a.w.Header().Set("WWW-Authenticate", `Basic realm="hookledger engine"`)
		return refuse(codeAuthentication, "AUTHENTICATION_FAILED", user+": Authentication failed: password is incorrect, or there is no user with such name")
	}
	pool := &s.service
	if user == UserAuditor {
		pool = &s.auditor
	}
	release, err := pool.acquire(r.Context())
	if err != nil {
		return err
	}
	defer release()
	// Read only with a place, so that bodies in memory are bounded as well; and
	// within a time, so that nobody keeps the place by sending nothing.
	if err := http.NewResponseController(a.w).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return err
	}
	req, err := parseRequest(r, user)
	if err != nil {
		return err
	}
	if err := http.NewResponseController(a.w).SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	a.header(req)
	if strings.TrimSpace(req.sql) == helloQuery {
		block, err := hello(s.version, s.timezone, req.revision)
		if err != nil {
			return err
		}
		return a.write(block)
	}
	return s.engine.run(r.Context(), a, req)
}

// authenticate takes HTTP basic or ClickHouse's headers. Both sides are hashed
// before they are compared, so that the time says nothing about the length.
func (s *server) authenticate(r *http.Request) (string, bool) {
	user, password, ok := r.BasicAuth()
	if !ok {
		user, password = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	want, known := s.secrets[user]
	got := sha256.Sum256([]byte(password))
	return user, subtle.ConstantTimeCompare(got[:], want[:]) == 1 && known
}

// fail answers with an exception, as ClickHouse does: in headers and body while
// nothing was sent, and framed in the body after that.
func (s *server) fail(a *answer, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody listens
	}
	var ex *Exception
	if !errors.As(err, &ex) {
		s.log.Error("engine request failed", "error", err)
		ex = refuse(codeUnknown, "UNKNOWN_EXCEPTION", err.Error())
	}
	if a.extend() != nil {
		return // the connection is gone
	}
	if a.sent {
		a.frame(ex)
		return
	}
	h := a.w.Header()
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(ex.Code()))
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Del("Content-Length")
	a.w.WriteHeader(ex.status())
	_, _ = a.w.Write([]byte(ex.Message + "\n"))
}

// slots bounds how many statements run at once, and how many wait for that.
type slots struct {
	running chan struct{}
	waiting chan struct{}
}

func newSlots(running, waiting int) slots {
	return slots{running: make(chan struct{}, running), waiting: make(chan struct{}, running+waiting)}
}

func (s *slots) acquire(ctx context.Context) (release func(), err error) {
	select {
	case s.waiting <- struct{}{}:
	default:
		return nil, refuse(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", fmt.Sprintf("Too many simultaneous queries: %d run or wait", cap(s.waiting)))
	}
	select {
	case s.running <- struct{}{}:
		return func() { <-s.running; <-s.waiting }, nil
	case <-ctx.Done():
		<-s.waiting
		return nil, ctx.Err()
	}
}
