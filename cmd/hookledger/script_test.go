package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hookledger/deploy/embedded/datadir"
)

// The command line as an operator types it: testdata/script. `ready DIR` waits
// until a server on that data folder says where it is.
func TestScript(t *testing.T) {
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "hookledger")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv(execEnv, "1")
			e.Setenv("HOOKLEDGER_ENGINE_LIB", lib)
			e.Setenv("HOOKLEDGER_LISTEN", "127.0.0.1:0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": ready},
	})
}

func ready(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: ready DIR")
	}
	deadline := time.Now().Add(readyIn)
	for {
		_, err := datadir.ReadServing(ts.MkAbs(args[0]))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the server is not ready: %v", fmt.Errorf("%s: %w", args[0], err))
		}
		time.Sleep(10 * time.Millisecond)
	}
}
