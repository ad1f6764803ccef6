package hookledger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hookledger/deploy/embedded/engine/enginetest"
	client "hookledger/schemas/clients/go"
)

// program is the real program, built once, and a server of it on a data folder of its own, which all tests share: each has
// an account of its own.
type program struct {
	once   sync.Once
	err    error
	folder string
	base   string
	cmd    *exec.Cmd
	mu     sync.Mutex
	count  int
}

var shared program

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "the server:", err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines leaked:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func (p *program) start() error {
	library, err := enginetest.FindLibrary()
	if err != nil {
		return err
	}
	if p.folder, err = os.MkdirTemp("", "hookledger-client-"); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", p.binary(), "hookledger/cmd/hookledger")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	said, err := os.Create(filepath.Join(p.folder, "out"))
	if err != nil {
		return err
	}
	defer said.Close()
	log, err := os.Create(filepath.Join(p.folder, "err"))
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.binary(), "serve", "--data-dir", p.data(), "--listen", "127.0.0.1:0", "--engine-lib", library,
		"--allow-http-urls", "--allow-private-networks", "--retry-schedule", "1h,1h", "--fsync", "none")
	p.cmd.Stdout, p.cmd.Stderr = said, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	greeting := regexp.MustCompile(`API on (http://[0-9.:]+)/api/v2`)
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		out, _ := os.ReadFile(said.Name())
		if m := greeting.FindSubmatch(out); m != nil {
			p.base = string(m[1])
			return nil
		}
	}
	text, _ := os.ReadFile(log.Name())
	return fmt.Errorf("the server did not say that it is ready:\n%s", text)
}

func (p *program) binary() string { return filepath.Join(p.folder, "hookledger") }
func (p *program) data() string   { return filepath.Join(p.folder, "data") }

func (p *program) stop() error {
	if p.cmd == nil || p.cmd.Process == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	return errors.Join(p.cmd.Wait(), os.RemoveAll(p.folder))
}

// account is the address, an API key and a token of an account that nobody else uses.
func account(t *testing.T) (base, key, token string) {
	t.Helper()
	shared.once.Do(func() { shared.err = shared.start() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	shared.mu.Lock()
	shared.count++
	name := fmt.Sprintf("account-%d", shared.count)
	shared.mu.Unlock()
	run := func(args ...string) string {
		out, err := exec.Command(shared.binary(), append(args, "--data-dir", shared.data(), "--account", name)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	return shared.base, run("keys", "create", "--scopes", "admin", "--quiet"), run("token")
}

// dial makes a client that is closed after the test.
func dial(t *testing.T, base string, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(base, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// connect makes a client that may do everything in an account of the test's own.
func connect(t *testing.T) *client.Client {
	t.Helper()
	base, key, token := account(t)
	return dial(t, base, client.Config{APIKey: key, Token: func(context.Context) (string, error) { return token, nil }})
}

// receiver keeps what it gets.
type receiver struct {
	url    string
	mu     sync.Mutex
	got    []received
	status int
}

type received struct {
	header http.Header
	body   []byte
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{status: http.StatusNoContent}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, received{req.Header.Clone(), body})
		w.WriteHeader(r.status)
	}))
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// nth waits for a request.
func (r *receiver) nth(t *testing.T, n int) received {
	t.Helper()
	return eventually(t, fmt.Sprintf("request %d at the receiver", n), func() (received, bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.got) < n {
			return received{}, false
		}
		return r.got[n-1], true
	})
}

// eventually asks until there is something.
func eventually[T any](t *testing.T, what string, look func() (T, bool)) T {
	t.Helper()
	v, ok := look()
	for until := time.Now().Add(30 * time.Second); !ok && time.Now().Before(until); v, ok = look() {
		time.Sleep(10 * time.Millisecond)
	}
	if !ok {
		t.Fatalf("there was no %s", what)
	}
	return v
}

// must is a result that has to be one.
func must[T any](t *testing.T) func(v T, _ *client.Response, err error) T {
	t.Helper()
	return func(v T, _ *client.Response, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// refused is an error that has to have a code.
func refused(t *testing.T, err error, code client.ErrorCode) *client.Error {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("the error is %v, want code %s", err, code)
	}
	return e
}
