package engine

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// What parent and child agree on.
const (
	listenerFD   = 3 // the inherited listening socket
	drainTimeout = 5 * time.Second
)

// secrets is the first line on the child's standard input.
type secrets struct {
	Service string `json:"service"`
	Auditor string `json:"auditor"`
}

// readyLine is the first line on the child's standard output.
type readyLine struct {
	Address string `json:"address"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

// ServeOptions is what a child is told.
type ServeOptions struct {
	LibPath   string
	DataDir   string
	MaxMemory int64 // bytes that the engine's own tracker allows, 0 for the engine's default
	Sessions  int   // statements that run at once
	InheritFD bool  // listen on descriptor 3 rather than on a port of its own
	Fsync     bool  // inserts and merges are synced before they count
	Sandbox   bool  // ChildMain only: confine the process to DataDir, where the system can; needs InheritFD

	Stdin  io.Reader // one line of passwords, then open for as long as the parent lives
	Stdout io.Writer
	Log    *slog.Logger
}

// ChildMain runs the engine: the body of the hidden subcommand. It returns when
// standard input closes, which is how the parent's end, however sudden, becomes
// the child's.
func ChildMain(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := ServeOptions{Stdin: stdin, Stdout: stdout, Log: slog.New(slog.NewTextHandler(stderr, nil))}
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.LibPath, "lib", "", "libchdb.so")
	flags.StringVar(&o.DataDir, "path", "", "data folder")
	flags.Int64Var(&o.MaxMemory, "max-memory", 0, "bytes")
	flags.IntVar(&o.Sessions, "sessions", 8, "statements at once")
	flags.BoolVar(&o.Fsync, "fsync", false, "sync what is inserted and merged")
	flags.BoolVar(&o.InheritFD, "inherit-listener", false, "listen on descriptor 3")
	flags.BoolVar(&o.Sandbox, "sandbox", true, "confine the process to its data folder, where the system can")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	// A terminal's ^C and a service manager's SIGTERM reach the whole group. The
	// parent drains first and then closes our standard input.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if o.Sandbox && o.InheritFD {
		if err := confine(o); err != nil {
			o.Log.Error("engine ends", "error", err)
			return 1
		}
	}
	if err := Serve(context.Background(), o); err != nil {
		o.Log.Error("engine ends", "error", err)
		return 1
	}
	return 0
}

// Serve opens the data folder and serves ClickHouse's HTTP interface until ctx
// ends or standard input closes. The process must end then: neither the engine
// nor the folder's lock is given back before.
func Serve(ctx context.Context, o ServeOptions) error {
	in := bufio.NewReader(o.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the passwords from standard input: %w", err)
	}
	var pw secrets
	if err := json.Unmarshal(line, &pw); err != nil || pw.Service == "" || pw.Auditor == "" {
		return errors.New("standard input's first line must be {\"service\":...,\"auditor\":...}, neither empty")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// Whatever comes is ignored; only the end counts. This goroutine ends
		// with the process: a read can't be taken back.
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()

	listener, err := listen(o)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := lockFolder(ctx, o.DataDir); err != nil {
		return err
	}
	b, err := start(o)
	if err != nil {
		return err
	}
	s := &server{
		engine:   b,
		version:  b.version,
		timezone: "UTC",
		secrets:  map[string][sha256.Size]byte{UserService: sha256.Sum256([]byte(pw.Service)), UserAuditor: sha256.Sum256([]byte(pw.Auditor))},
		log:      o.Log,
		service:  newSlots(o.Sessions, 32*o.Sessions),
		auditor:  newSlots(max(1, o.Sessions/4), 32),
	}
	ready, err := json.Marshal(readyLine{Address: listener.Addr().String(), Version: b.version, PID: os.Getpid()})
	if err != nil {
		return err
	}
	if _, err := o.Stdout.Write(append(ready, '\n')); err != nil {
		return fmt.Errorf("telling the parent that the engine is ready: %w", err)
	}
	return serveHTTP(ctx, listener, s, o.Log)
}

func listen(o ServeOptions) (net.Listener, error) {
	if !o.InheritFD {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	f := os.NewFile(listenerFD, "listener")
	l, err := net.FileListener(f) // a copy
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("taking the listener from the parent: %w", err)
	}
	return l, nil
}

func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	requests, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    1 << 20,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving the engine's HTTP interface: %w", err)
	case <-ctx.Done():
	}
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer stop()
	if err := srv.Shutdown(drain); err != nil {
		// What still runs is cancelled, and not waited for: the process ends,
		// and what was acknowledged is on disk.
		cancelRequests()
		_ = srv.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ending the engine's HTTP interface: %w", err)
	}
	return nil
}

// start boots the engine in o.DataDir.
func start(o ServeOptions) (*boot, error) {
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, err
	}
	if o.LibPath == "" {
		return nil, errors.New("no engine library was named")
	}
	lib, err := loadLibrary(o.LibPath)
	if err != nil {
		return nil, err
	}
	b := &boot{lib: lib, killer: make(chan *session, 1), tables: map[string]bool{}, auditorArgs: []string{"--max_execution_time=600"}, args: []string{
		"--path=" + dir,
		"--async_insert=0", // the default is 1 here, which acknowledges what is only in memory
		"--allow_introspection_functions=0",
	}}
	settings, err := writeSettings(dir, o.Fsync)
	if err != nil {
		return nil, err
	}
	b.args = append(b.args, "--config-file="+settings)
	if o.MaxMemory > 0 {
		// The caches' own defaults are 5 GiB each, beyond what the tracker allows.
		b.args = append(b.args, fmt.Sprintf("--max_server_memory_usage=%d", o.MaxMemory),
			fmt.Sprintf("--mark_cache_size=%d", o.MaxMemory/8), fmt.Sprintf("--primary_index_cache_size=%d", o.MaxMemory/8))
		b.auditorArgs = append(b.auditorArgs, fmt.Sprintf("--max_memory_usage=%d", o.MaxMemory/2))
	}
	first, err := lib.open(b.args)
	if err != nil {
		return nil, fmt.Errorf("opening the engine in %s: %w: the data may be of a newer engine, or damaged; its log lines are above", dir, err)
	}
	// The first session stays open for as long as the process lives: closing the
	// last one would stop the engine.
	b.killer <- first
	return b, b.learn(first)
}

// learn asks the engine about itself.
func (b *boot) learn(s *session) error {
	r := s.query("SELECT version()", "TabSeparatedRaw", nil)
	defer r.close()
	if err := r.err(); err != nil {
		return fmt.Errorf("asking the engine for its version: %w", err)
	}
	b.version = trimLine(r.bytes())
	t := s.query("SELECT name FROM system.table_functions", "TabSeparatedRaw", nil)
	defer t.close()
	if err := t.err(); err != nil {
		return fmt.Errorf("asking the engine for its table functions: %w", err)
	}
	for name := range splitLines(t.bytes()) {
		if name = strings.ToLower(name); !auditorTables[name] {
			b.tables[name] = true
		}
	}
	return nil
}
