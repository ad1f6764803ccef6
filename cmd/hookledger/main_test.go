package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// execEnv makes the test binary be hookledger: the tests drive the real program
// from outside, and what `go test -race` built is what serves. With "guarded"
// it ends when its standard input does, so that no server outlives its tests.
const execEnv = "HOOKLEDGER_TEST_EXEC"

func TestMain(m *testing.M) {
	as := os.Getenv(execEnv)
	if as == "guarded" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
	}
	if as != "" || len(os.Args) > 1 && os.Args[1] == "engine" {
		os.Exit(run(os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
	}
	// The parallel tests mostly wait for the history, so more of them than cores
	// run at once, unless the command line says otherwise.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := common.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "the shared server:", err)
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
