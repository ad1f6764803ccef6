package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"hookledger/deploy/embedded/broker/brokertest"
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
		std := stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}
		if dir := os.Getenv(syncedEnv); dir != "" {
			std.watchSync = watchSyncs(dir)
		}
		os.Exit(run(os.Args[1:], std))
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

// syncedEnv tells a process under test to note what is synced, in this folder.
const syncedEnv = "HOOKLEDGER_TEST_SYNCED"

// power is what a power cut does to the broker of a data folder.
func power(dir, notes string) brokertest.Power {
	return brokertest.Power{Dir: filepath.Join(dir, "broker"), Notes: notes}
}

func watchSyncs(notes string) func() func() {
	return power(strings.TrimSuffix(notes, ".synced"), notes).Watch()
}
