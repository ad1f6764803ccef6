// Package enginetest gives the tests of other packages the real embedded engine:
// one per package, a fresh database per test.
//
//	var db enginetest.Engine
//
//	func TestMain(m *testing.M) { db.Main(m) }
//
//	func TestX(t *testing.T) {
//		conn := db.Open(t)         // clickhouse-go, in a database of this test's own
//		dsn := db.Database(t)      // or only the DSN
//	}
//
// Main must be the first thing in TestMain, because the engine's child is the
// test binary itself, run again. The engine starts with the first test that asks
// for it. A missing library fails the test: the suite never skips.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"go.uber.org/goleak"

	"hookledger/deploy/embedded/engine"
)

// childEnv tells the test binary that it is the engine's child.
const childEnv = "HOOKLEDGER_ENGINE_CHILD"

// Engine is one engine for a package's tests. The zero value is ready.
type Engine struct {
	once   sync.Once
	err    error
	engine *engine.Engine
	cancel context.CancelFunc
	done   chan error
	serial atomic.Int64
}

// Child runs the engine's child and exits, in a process that was started as one;
// in any other it returns. For packages whose TestMain isn't Engine.Main.
func Child() {
	if os.Getenv(childEnv) != "" {
		os.Exit(engine.ChildMain(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}

// Main runs the package's tests, ends the engine, looks for leaked goroutines,
// and exits.
func (e *Engine) Main(m *testing.M) {
	Child()
	code := m.Run()
	e.Stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines leaked:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Stop ends the engine, if it was started.
func (e *Engine) Stop() {
	if e.cancel != nil {
		e.cancel()
		<-e.done
	}
}

// Options are those of a child that is this test binary; tests change what they test.
func Options(dir string) (engine.Options, error) {
	lib, err := FindLibrary()
	if err != nil {
		return engine.Options{}, err
	}
	return engine.Options{
		LibPath: lib, DataDir: dir, Args: []string{}, Env: []string{childEnv + "=1"},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, nil
}

// FindLibrary looks where `make engine` puts the library: in deploy/embedded of
// the module that the test runs in.
func FindLibrary() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return engine.FindLibrary(filepath.Join(dir, "deploy", "embedded"))
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the test's folder: run the tests inside the module")
		}
		dir = parent
	}
}

// Start starts an engine of the test's own, in dir, and supervises it until the
// test ends.
func Start(t testing.TB, dir string, change ...func(*engine.Options)) *engine.Engine {
	t.Helper()
	o, err := Options(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e, err := engine.Start(ctx, o)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("engine: %v", err)
		}
	})
	return e
}

// Engine returns the package's engine, started at the first call.
func (e *Engine) Engine(t testing.TB) *engine.Engine {
	t.Helper()
	e.once.Do(func() { e.err = e.start() })
	if e.err != nil {
		t.Fatal(e.err)
	}
	return e.engine
}

func (e *Engine) start() error {
	dir, err := os.MkdirTemp("", "engine-")
	if err != nil {
		return err
	}
	o, err := Options(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if e.engine, err = engine.Start(ctx, o); err != nil {
		cancel()
		return err
	}
	e.cancel, e.done = cancel, make(chan error, 1)
	go func() {
		err := e.engine.Run(ctx)
		e.done <- errors.Join(err, os.RemoveAll(dir))
	}()
	return nil
}

// Database makes a database of the test's own and returns the service's DSN in
// it. It is dropped when the test ends.
func (e *Engine) Database(t testing.TB) string {
	t.Helper()
	dsn, _ := e.Databases(t)
	return dsn
}

// Databases is Database with the auditor's DSN beside it.
func (e *Engine) Databases(t testing.TB) (service, auditor string) {
	t.Helper()
	name := fmt.Sprintf("t%d", e.serial.Add(1))
	run := e.Engine(t)
	conn := Open(t, run.DSN(engine.UserService))
	if err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("making the test's database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
	})
	return run.DSNTo(engine.UserService, name), run.DSNTo(engine.UserAuditor, name)
}

// Open makes a database of the test's own and opens it.
func (e *Engine) Open(t testing.TB) clickhouse.Conn {
	t.Helper()
	return Open(t, e.Database(t))
}

// Open opens a DSN, and closes it when the test ends.
func Open(t testing.TB, dsn string) clickhouse.Conn {
	t.Helper()
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatalf("the engine's DSN: %v", strings.ReplaceAll(err.Error(), dsn, "..."))
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
