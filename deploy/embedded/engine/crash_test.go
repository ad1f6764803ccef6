package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hookledger/deploy/embedded/engine"
	"hookledger/deploy/embedded/engine/enginetest"
)

// TestKill: the child is killed with SIGKILL while rows stream in. The DSN stays,
// the engine comes back by itself, and every acknowledged insert is there, once.
func TestKill(t *testing.T) {
	e := enginetest.Start(t, t.TempDir(), quiet)
	dsn := e.DSN(engine.UserService)
	conn := enginetest.Open(t, dsn)
	must(t, conn, "CREATE TABLE k (n UInt64, body String) ENGINE = MergeTree ORDER BY n")
	const batch = 500
	insert := func(from uint64) error {
		ctx := timeout(t, time.Minute)
		b, err := conn.PrepareBatch(ctx, "INSERT INTO k")
		if err != nil {
			return err
		}
		for n := range uint64(batch) {
			if err := b.Append(from+n, strings.Repeat("x", 100)); err != nil {
				return err
			}
		}
		return b.Send()
	}
	var next uint64
	var acknowledged, doubtful []uint64
	for range 3 {
		for range 5 {
			if err := insert(next); err != nil {
				t.Fatal(err)
			}
			acknowledged = append(acknowledged, next)
			next += batch
		}
		pid := e.PID()
		// The kill lands somewhere in these inserts.
		killed := make(chan error, 1)
		go func() { killed <- syscall.Kill(pid, syscall.SIGKILL) }()
		for alive := true; alive; next += batch {
			if err := insert(next); err != nil {
				doubtful = append(doubtful, next)
				alive = false
			} else {
				acknowledged = append(acknowledged, next)
			}
		}
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		eventually(t, "the engine answers again, at the same address", func() bool { return conn.Ping(timeout(t, time.Minute)) == nil })
		if e.PID() == pid || e.DSN(engine.UserService) != dsn || e.Err() != nil {
			t.Fatalf("after the restart: pid %d, %v", e.PID(), e.Err())
		}
	}
	for _, from := range acknowledged {
		if n := one[uint64](t, conn, "SELECT count() FROM k WHERE n >= ? AND n < ? AND length(body) = 100", from, from+batch); n != batch {
			t.Errorf("acknowledged insert at %d has %d rows of %d", from, n, batch)
		}
	}
	for _, from := range doubtful {
		if n := one[uint64](t, conn, "SELECT count() FROM k WHERE n >= ? AND n < ?", from, from+batch); n != 0 && n != batch {
			t.Errorf("interrupted insert at %d has %d rows: want all or none", from, n)
		}
	}
}

func quiet(o *engine.Options) { o.Logger = slog.New(slog.DiscardHandler) }

// TestReopen: what was written is there for the next engine on the folder.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	for i := range uint64(3) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			conn := enginetest.Open(t, enginetest.Start(t, dir).DSN(engine.UserService))
			must(t, conn, "CREATE TABLE IF NOT EXISTS r (n UInt64) ENGINE = MergeTree ORDER BY n")
			must(t, conn, "INSERT INTO r VALUES (1)")
			if n := one[uint64](t, conn, "SELECT count() FROM r"); n != i+1 {
				t.Fatalf("%d rows at start %d", n, i)
			}
		})
	}
}

// parentEnv makes the test binary a parent that starts an engine in the folder
// named, says where, and waits to be killed.
const parentEnv = "HOOKLEDGER_ENGINE_TEST_PARENT"

func parentMain() int {
	o, err := enginetest.Options(os.Getenv(parentEnv))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	e, err := engine.Start(context.Background(), o)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(e.DSN(engine.UserService))
	_ = e.Run(context.Background())
	return 0
}

// TestParentDies: the parent is killed with SIGKILL, and its child ends by itself,
// so that a new parent gets the folder.
func TestParentDies(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "http://") {
		t.Fatalf("the parent said %q: %v", line, err)
	}
	conn := enginetest.Open(t, strings.TrimSpace(line))
	must(t, conn, "CREATE TABLE o (n UInt64) ENGINE = MergeTree ORDER BY n")
	must(t, conn, "INSERT INTO o VALUES (1)")
	// A statement that would hold the child up for hours.
	go func() { _ = conn.Exec(t.Context(), "SELECT max(sipHash64(number)) FROM numbers(1000000000000)") }()
	eventually(t, "the statement runs", func() bool { return one[uint64](t, conn, "SELECT count() FROM system.processes") > 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	begin := time.Now()
	next := enginetest.Open(t, enginetest.Start(t, dir).DSN(engine.UserService))
	if n := one[uint64](t, next, "SELECT count() FROM o"); n != 1 {
		t.Fatalf("%d rows", n)
	}
	t.Logf("a new parent had the folder after %s", time.Since(begin))
}

func TestStartFails(t *testing.T) {
	good, err := enginetest.Options(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	good.Logger = slog.New(slog.DiscardHandler)
	notALibrary := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(notALibrary, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	held := t.TempDir()
	enginetest.Start(t, held)
	for name, c := range map[string]struct {
		change func(*engine.Options)
		want   string
	}{
		"no library named":      {func(o *engine.Options) { o.LibPath = "" }, "FindLibrary"},
		"no folder named":       {func(o *engine.Options) { o.DataDir = "" }, "no data folder"},
		"library isn't one":     {func(o *engine.Options) { o.LibPath = notALibrary }, "loading the engine library"},
		"library is missing":    {func(o *engine.Options) { o.LibPath += ".gone" }, "loading the engine library"},
		"folder is a file":      {func(o *engine.Options) { o.DataDir = filepath.Join(file, "x") }, "data folder"},
		"program is missing":    {func(o *engine.Options) { o.Binary = file + ".gone" }, "starting the engine's process"},
		"program isn't a child": {func(o *engine.Options) { o.Binary = "/bin/false" }, "exit status"},
		"folder is taken":       {func(o *engine.Options) { o.DataDir, o.StartTimeout = held, 300*time.Millisecond }, "another engine"},
	} {
		o := good
		c.change(&o)
		e, err := engine.Start(timeout(t, time.Minute), o)
		if err == nil {
			e.Close()
			t.Errorf("%s: started", name)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

// TestStartIsCancelled: a context that ends while the child starts ends the child.
func TestStartIsCancelled(t *testing.T) {
	held := t.TempDir()
	enginetest.Start(t, held)
	o, err := enginetest.Options(held)
	if err != nil {
		t.Fatal(err)
	}
	o.Logger = slog.New(slog.DiscardHandler)
	ctx := timeout(t, 100*time.Millisecond)
	if _, err := engine.Start(ctx, o); err == nil {
		t.Fatal("started")
	}
}

// TestWithoutSandbox: an operator whose system doesn't bear the confinement can do
// without it.
func TestWithoutSandbox(t *testing.T) {
	t.Setenv(engine.SandboxEnv, "off")
	conn := enginetest.Open(t, enginetest.Start(t, t.TempDir()).DSN(engine.UserService))
	file := filepath.Join(t.TempDir(), "x.csv")
	if err := os.WriteFile(file, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := one[string](t, conn, "SELECT * FROM file('"+file+"', 'CSV', 's String')"); got != "hello" {
		t.Fatalf("read %q", got)
	}
}

func TestFindLibrary(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(engine.LibraryEnv, "")
	if _, err := engine.FindLibrary(dir); err == nil || !strings.Contains(err.Error(), "make engine") || !strings.Contains(err.Error(), dir) {
		t.Errorf("missing: %v", err)
	}
	lib := filepath.Join(dir, "libchdb.so")
	if err := os.WriteFile(lib, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := engine.FindLibrary(t.TempDir(), dir); err != nil || got != lib {
		t.Errorf("in the second folder: %q %v", got, err)
	}
	t.Setenv(engine.LibraryEnv, lib+".gone")
	if _, err := engine.FindLibrary(dir); err == nil || !strings.Contains(err.Error(), lib+".gone") {
		t.Errorf("named but missing: %v", err)
	}
	t.Setenv(engine.LibraryEnv, lib)
	if got, err := engine.FindLibrary(); err != nil || got != lib {
		t.Errorf("named: %q %v", got, err)
	}
}
