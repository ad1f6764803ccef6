package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options say where the engine is and what it may use.
type Options struct {
	Binary  string   // the program that runs the child; default this one
	Args    []string // before the child's own flags; default "engine", the hidden subcommand
	Env     []string // added to the child's environment, which is otherwise nearly empty
	LibPath string   // libchdb, see FindLibrary
	DataDir string   // made if it isn't there

	MaxMemory int64 // bytes that the engine's tracker allows; default 2 GiB; a statement beyond fails, the engine lives
	Sessions  int   // statements that run at once; default 8, and a quarter of that for auditors

	Fsync bool // an insert that was acknowledged, and a merge, survive a power cut once Sync has returned; costs some 10 ms an insert

	StartTimeout time.Duration // until the child must be ready; default 2 min, because a folder with many parts takes a while
	StopTimeout  time.Duration // until a child that was asked to end is killed; default 15 s

	Logger *slog.Logger // default: silence
	Rand   io.Reader    // passwords; default crypto/rand
}

// Engine is the parent's side.
type Engine struct {
	o         Options
	address   string
	listener  *os.File
	passwords secrets

	mu    sync.Mutex
	child *child // nil while there is none
	down  error  // why there is none

	folders folders // of Sync
}

// Start launches the child and waits until it answers. Passwords are new at each
// start. Then call Run, or Close when Run is never called.
func Start(ctx context.Context, o Options) (*Engine, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	e := &Engine{o: o}
	for _, p := range []*string{&e.passwords.Service, &e.passwords.Auditor} {
		b := make([]byte, 24)
		if _, err := io.ReadFull(o.Rand, b); err != nil {
			return nil, fmt.Errorf("making the engine's passwords: %w", err)
		}
		*p = hex.EncodeToString(b)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the engine: %w", err)
	}
	defer l.Close()
	// The socket stays in this process for as long as it lives, so that the
	// address is the same after a crash of the child, and clients wait in the
	// socket's queue while the next child starts.
	if e.listener, err = l.(*net.TCPListener).File(); err != nil {
		return nil, fmt.Errorf("keeping the engine's listener: %w", err)
	}
	e.address = l.Addr().String()
	if err := e.launch(ctx); err != nil {
		return nil, errors.Join(err, e.listener.Close())
	}
	return e, nil
}

func (o *Options) complete() (err error) {
	if o.LibPath == "" {
		return errors.New("starting the engine: no library given, see FindLibrary")
	}
	if o.DataDir == "" {
		return errors.New("starting the engine: no data folder given")
	}
	if o.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return err
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return fmt.Errorf("finding this program, to run the engine's child: %w", err)
		}
	}
	if o.Args == nil {
		o.Args = []string{"engine"}
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = 2 << 30
	}
	if o.Sessions == 0 {
		o.Sessions = 8
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 2 * time.Minute
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 15 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return nil
}

// DSN is how clickhouse-go reaches the engine as user, in the default database.
// It stays the same for as long as the Engine lives. It holds a password.
func (e *Engine) DSN(user string) string { return e.DSNTo(user, "default") }

// DSNTo is DSN for another database.
func (e *Engine) DSNTo(user, database string) string {
	password := e.passwords.Service
	if user != UserService {
		password = e.passwords.Auditor
	}
	u := url.URL{Scheme: "http", User: url.UserPassword(user, password), Host: e.address, Path: "/" + database}
	return u.String()
}

// PID is the child's process id, 0 while there is none.
func (e *Engine) PID() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.child == nil {
		return 0
	}
	return e.child.cmd.Process.Pid
}

// Err says why the engine can't answer now; nil when it can.
func (e *Engine) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.down
}
