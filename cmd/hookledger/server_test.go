package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hookledger/deploy/embedded/engine/enginetest"
)

// server is one process of the program on a data folder.
type server struct {
	dir  string // data folder
	base string // http://host:port, once it is ready

	cmd      *exec.Cmd
	guard    io.Closer
	out, err string // files
	exited   chan struct{}
	state    error // of the process; read after exited
}

// readyIn is how long a server may take to be ready: a second alone, more under
// the race detector beside other packages' tests.
const readyIn = 60 * time.Second

// library is where the embedded engine is.
var library = sync.OnceValues(enginetest.FindLibrary)

// program is the command line of hookledger with these arguments.
func program(args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), execEnv+"=1")
	return cmd, nil
}

// launch starts `hookledger serve` on a data folder and returns at once. What
// it prints goes to files beside the folder, one pair for each start.
func launch(dir string, flags ...string) (*server, error) {
	lib, err := library()
	if err != nil {
		return nil, err
	}
	args := append([]string{"serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--engine-lib", lib, "--node", "test"}, flags...)
	cmd, err := program(args...)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env, execEnv+"=guarded")
	s := &server{dir: dir, cmd: cmd, exited: make(chan struct{})}
	if s.guard, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	n := 1
	for ; ; n++ {
		s.out, s.err = fmt.Sprintf("%s.%d.out", dir, n), fmt.Sprintf("%s.%d.err", dir, n)
		if _, err := os.Stat(s.out); err != nil {
			break
		}
	}
	out, err := os.Create(s.out)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	log, err := os.Create(s.err)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = out, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.state = cmd.Wait()
		close(s.exited)
	}()
	return s, nil
}

var greeting = regexp.MustCompile(`API on (http://[0-9.:]+)/api/v2`)

// ready waits until the server has said where it is and /readyz answers 200.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.base == "" {
			said, _ := os.ReadFile(s.out)
			if m := greeting.FindSubmatch(said); m != nil {
				s.base = string(m[1])
			}
		}
		if s.base != "" {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/readyz", nil)
			if resp, err := transport.RoundTrip(req); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return nil
				}
			}
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended: %w\n%s", s.state, s.tail())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w\n%s", ctx.Err(), s.tail())
		case <-tick.C:
		}
	}
}

// tail is the end of what the server logged.
func (s *server) tail() string {
	log, _ := os.ReadFile(s.err)
	return string(log[max(0, len(log)-4000):])
}

// stop ends the server as an operator does and says what was wrong with it.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(60 * time.Second):
		s.kill()
		return fmt.Errorf("the server did not stop after SIGTERM\n%s", s.tail())
	}
	_ = s.guard.Close()
	if s.state != nil {
		return fmt.Errorf("the server ended with %w\n%s", s.state, s.tail())
	}
	return s.sound()
}

// kill is SIGKILL, to this process alone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
	_ = s.guard.Close()
}

// sound looks through the log for what a server never says.
func (s *server) sound() error {
	log, err := os.ReadFile(s.err)
	if err != nil {
		return err
	}
	for _, bad := range []string{"DATA RACE", "panic:", "goroutine 1 [", "fatal error"} {
		if i := bytes.Index(log, []byte(bad)); i >= 0 {
			return fmt.Errorf("the server logged %q:\n%s", bad, log[max(0, i-500):min(len(log), i+5000)])
		}
	}
	return nil
}

// startServer runs a server of the test's own until the test ends. An empty dir
// is a new one; the folder of a test that failed is kept.
func startServer(t *testing.T, dir string, flags ...string) *server {
	t.Helper()
	if dir == "" {
		dir = newDataDir(t)
	}
	s, err := launch(dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-s.exited: // the test ended it
			if err := s.sound(); err != nil {
				t.Error(err)
			}
		default:
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		}
	})
	if err := s.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// newDataDir is a path for a data folder that does not exist yet.
func newDataDir(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("", "hookledger-test-") //nolint:usetesting // it is kept when the test fails
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("data folder and logs are kept in %s", parent)
			return
		}
		if err := os.RemoveAll(parent); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(parent, "data")
}

// common is the server that the ordinary tests share. Each test uses an account
// of its own. A failed delivery waits for an hour, so that the tests see it wait.
var common commonServer

type commonServer struct {
	once   sync.Once
	err    error
	server *server
}

// operatorEvent is an event name that the operator of the shared server added.
const operatorEvent = "acme.widget.sold"

// openFlags let webhooks reach the tests' own receivers.
var openFlags = []string{"--allow-http-urls", "--allow-private-networks"}

func (c *commonServer) get(t *testing.T) *server {
	t.Helper()
	c.once.Do(func() {
		parent, err := os.MkdirTemp("", "hookledger-test-") //nolint:usetesting // it outlives the test that asks first
		if err != nil {
			c.err = err
			return
		}
		names := filepath.Join(parent, "events.txt")
		if c.err = os.WriteFile(names, []byte(operatorEvent+"\n"), 0o600); c.err != nil {
			return
		}
		flags := append(slices.Clone(openFlags), "--retry-schedule", "1h,1h", "--log-level", "debug", "--event-names", names)
		if c.server, c.err = launch(filepath.Join(parent, "data"), flags...); c.err == nil {
			c.err = c.server.ready(context.Background())
		}
	})
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c.server
}

// stop ends the shared server and removes its folder, if all was well.
func (c *commonServer) stop() error {
	defer transport.CloseIdleConnections()
	if c.server == nil {
		return nil
	}
	if err := c.server.stop(); err != nil {
		return errors.Join(err, fmt.Errorf("its folder and logs are kept in %s", filepath.Dir(c.server.dir)))
	}
	return os.RemoveAll(filepath.Dir(c.server.dir))
}

// result is what a run of the program left.
type result struct {
	out, err string
	code     int
}

// hookledger runs a subcommand to its end.
func hookledger(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	cmd, err := program(args...)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	late := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// ok runs a subcommand that must succeed, and returns what it printed.
func (s *server) ok(t testing.TB, stdin, command string, args ...string) string {
	t.Helper()
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	words := append(strings.Fields(command), "--data-dir", s.dir, "--engine-lib", lib)
	got := hookledger(t, stdin, append(words, args...)...)
	if got.code != 0 {
		t.Fatalf("hookledger %s %q ended with %d: %s", command, args, got.code, got.err)
	}
	return strings.TrimSpace(got.out)
}
