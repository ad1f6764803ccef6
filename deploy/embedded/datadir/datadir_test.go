package datadir

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

const childEnv = "DATADIR_TEST_CHILD"

// As a child, the test binary opens the folder, says so, and waits to be killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		d, err := Open(path)
		if err == nil {
			err = d.WriteServing(Serving{API: "http://127.0.0.1:1", Broker: Broker{Password: "of the child"}})
		}
		fmt.Println("opened:", err)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// hold opens the folder in another process, and returns its id and how to kill it.
func hold(t *testing.T, path string) (int, func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = in.Close()
		}
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "opened: <nil>\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	return cmd.Process.Pid, kill
}

func mustOpen(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "data")
	pid, kill := hold(t, path)

	_, err := Open(path)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != pid || !strings.Contains(err.Error(), fmt.Sprint(pid)) {
		t.Fatalf("got %v, want a LockedError that names process %d", err, pid)
	}
	if s, err := ReadServing(path); err != nil || s.PID != pid || s.Broker.Password.Reveal() != "of the child" {
		t.Errorf("serving.json of the other process: %+v, %v", s, err)
	}

	kill()
	if _, err := ReadServing(path); !errors.Is(err, ErrNotServing) {
		t.Errorf("after the holder died: %v, want ErrNotServing", err)
	}
	d := mustOpen(t, path)
	// The file that the dead process left is gone, so that it can't be taken for this one's.
	if _, err := os.Stat(filepath.Join(path, servingName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stale serving.json: %v", err)
	}
	if _, err := Open(path); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("second open in one process: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
}

func TestServing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	if _, err := ReadServing(path); !errors.Is(err, ErrNotServing) {
		t.Errorf("no folder: %v", err)
	}
	d := mustOpen(t, path)
	if _, err := ReadServing(path); !errors.Is(err, ErrNotServing) {
		t.Errorf("open, but not serving: %v", err)
	}
	want := Serving{
		API:    "http://127.0.0.1:8080",
		Broker: Broker{Addrs: []string{"127.0.0.1:9092"}, User: "u", Password: "p1"},
		Engine: Engine{Addr: "127.0.0.1:8123", Users: map[string]Secret{"service": "p2"}},
	}
	if err := d.WriteServing(want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadServing(path)
	want.PID = os.Getpid()
	if err != nil || fmt.Sprintf("%#v", got.Broker.Addrs) != fmt.Sprintf("%#v", want.Broker.Addrs) ||
		got.Broker.Password != "p1" || got.Engine.Users["service"] != "p2" || got.PID != want.PID || got.API != want.API {
		t.Errorf("read %+v, %v", got, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, servingName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after a clean stop: %v", err)
	}
	if err := d.WriteServing(want); err == nil {
		t.Error("a closed folder was written to")
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	s := Serving{Broker: Broker{User: "u", Password: "sesame"}, Engine: Engine{Users: map[string]Secret{"a": "sesame"}}}
	var out strings.Builder
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "serving", s, "password", s.Broker.Password, "broker", s.Broker, "engine", s.Engine)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "serving", s, "broker", s.Broker)
	fmt.Fprintf(&out, "%v %+v %#v %s %q", s, s, s, s.Broker.Password, s.Broker.Password)
	if strings.Contains(out.String(), "sesame") {
		t.Errorf("a secret in %s", out.String())
	}
}

// Nobody else may read what lies here, whatever the folder's mode was.
func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, path)
	if err := d.WriteServing(Serving{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		path: 0o700, d.Broker(): 0o700, d.Engine(): 0o700, d.Keys(): 0o700, d.Subscriptions(): 0o700, d.Router(): 0o700,
		filepath.Join(path, servingName): 0o600, filepath.Join(path, lockName): 0o600,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("a file was opened as a data folder")
	}
	path := filepath.Join(t.TempDir(), "data")
	_, err := open(path, func(string) (uint64, error) { return 5 << 20, nil })
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "5 MiB left") {
		t.Errorf("full disk: %v", err)
	}
	mustOpen(t, path) // the lock was given back
}
