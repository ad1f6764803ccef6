package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// Secret is a password: it goes into serving.json as it is, and everywhere else as a placeholder.
type Secret string

const redacted = "[secret]"

// String hides the secret from fmt.
func (Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return redacted }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Serving says where the process that holds the data folder serves, and with which credentials of this
// start. It is what serving.json holds.
type Serving struct {
	PID  int    `json:"pid"`
	API  string `json:"api,omitempty"`  // base URL
	Node string `json:"node,omitempty"` // its name
	// Joined is the data folder of the node whose broker and engine this one uses; then it has none of its own.
	Joined string `json:"joined,omitempty"`
	Broker Broker `json:"broker"`
	Engine Engine `json:"engine"`
}

// Broker says how to reach the embedded broker: SASL, SCRAM-SHA-256.
type Broker struct {
	Addrs    []string `json:"addrs"`
	User     string   `json:"user"`
	Password Secret   `json:"password"`
	// Fsync is what the broker was started with: whoever acknowledges for it has to sync alike.
	Fsync string `json:"fsync,omitempty"`
	// Unclean says that the stop before this start was not clean.
	Unclean bool `json:"unclean,omitempty"`
}

// Engine says how to reach the embedded engine, and the password of each of its users.
type Engine struct {
	Addr  string            `json:"addr,omitempty"` // host:port of the HTTP interface
	Users map[string]Secret `json:"users,omitempty"`
}

// LogValue keeps the credentials out of logs, whatever the handler.
func (s Serving) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("pid", s.PID), slog.String("api", s.API), slog.String("node", s.Node),
		slog.Any("broker", s.Broker), slog.Any("engine", s.Engine))
}

// LogValue keeps the password out of logs.
func (b Broker) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("addrs", b.Addrs), slog.String("user", b.User))
}

// LogValue keeps the passwords out of logs.
func (e Engine) LogValue() slog.Value { return slog.GroupValue(slog.String("addr", e.Addr)) }

// ErrNotServing is wrapped by the error of ReadServing when no process serves from the folder.
var ErrNotServing = errors.New("no server is running on this data folder")

// WriteServing tells other processes of this user where this one serves: serving.json appears whole or
// not at all, mode 0600. Call it again when an address changes. The process id is filled in.
func (d *Dir) WriteServing(s Serving) error {
	if d.lock == nil {
		return fmt.Errorf("write %s: the data folder %q is closed", servingName, d.path)
	}
	s.PID = os.Getpid()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", servingName, err)
	}
	d.served = true
	if err := WriteFile(filepath.Join(d.path, servingName), append(b, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", servingName, err)
	}
	return nil
}

// ReadServing returns where the process that holds the folder at path serves. It takes no lock. When
// nobody holds the folder, or its holder has not said where it serves, the error wraps ErrNotServing; a
// file left by a process that died is never returned.
func ReadServing(path string) (Serving, error) {
	fail := func(err error) (Serving, error) {
		return Serving{}, fmt.Errorf("data folder %q: %w", path, err)
	}
	// The file before the lock: were it the other way round, a stop and a start in between could pair the
	// old process's file with the new process's lock.
	b, err := os.ReadFile(filepath.Join(path, servingName))
	if errors.Is(err, os.ErrNotExist) {
		return fail(ErrNotServing)
	}
	if err != nil {
		return fail(fmt.Errorf("read %s: %w (run this as the user who runs the server)", servingName, err))
	}
	live, err := held(path)
	if err != nil {
		return fail(fmt.Errorf("ask for the lock: %w", err))
	}
	if !live {
		return fail(fmt.Errorf("%w: the %s in it was left by a process that died", ErrNotServing, servingName))
	}
	s, err := decodeServing(b)
	if err != nil {
		return fail(fmt.Errorf("read %s: %w", servingName, err))
	}
	// A process that died can leave its file to be read here just before the next one removes it.
	if pid := holder(filepath.Join(path, lockName)); pid != s.PID {
		return fail(fmt.Errorf("%w yet: process %d holds it and has not said where it serves", ErrNotServing, pid))
	}
	return s, nil
}

func decodeServing(b []byte) (Serving, error) {
	var s Serving
	err := json.Unmarshal(b, &s)
	return s, err
}

// WriteFile writes a file of mode 0600 that is there whole or not at all, also after a power cut.
func WriteFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	// CreateTemp makes 0600. Closing twice, and removing what was renamed, are harmless.
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}
