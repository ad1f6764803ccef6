// Command hookledger delivers webhooks from an append-only log. Its
// subcommands are faces of one program: serve runs the service, the others look
// at or mend what a served data folder holds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"hookledger/deploy/embedded/engine"
)

// version is set by the build (-ldflags -X main.version=...).
var version = "dev"

// command is one subcommand.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, io stdio) error
}

// stdio is what a subcommand reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	// watchSync follows the embedded broker's syncs (broker.Options.WatchSync): the
	// tests' way to know what a power cut may not take. Nil otherwise.
	watchSync func() (synced func())
}

// commands is the flat list of subcommands, in the order of the help text.
func commands() []command {
	return []command{
		{"serve", "run the service", runServe},
		{"keys", "make API keys from the command line", runKeys},
		{"token", "print a short-lived JWT for the local server", runToken},
		{"sql", "a read-only SQL prompt on the history", runSQL},
		{"backup", "copy the data folder, with a server running or not", runBackup},
		{"restore", "make a data folder from a backup", runRestore},
		{"repair", "examine a log that can't be gone on from, and mend it on the record", runRepair},
		{"verify", "compare the history in ClickHouse with the log", runVerify},
		{"rebuild", "make the history again from the log, and switch to it", runRebuild},
		{"bench", "load the program with itself and print what it can do", runBench},
		{"version", "print the version", runVersion},
	}
}

func main() {
	os.Exit(run(os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// errUsage is returned after the usage was printed.
var errUsage = errors.New("usage")

// exitError ends the program with a code of its own; err is printed if there is one.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return fmt.Sprintf("exit code %d: %v", e.code, e.err) }

func (e exitError) Unwrap() error { return e.err }

func run(args []string, std stdio) int {
	if len(args) > 0 && args[0] == "engine" { // hidden: the embedded engine's child process
		return engine.ChildMain(args[1:], std.in, std.out, std.err)
	}
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(std.out)
		if len(args) == 0 {
			return 2
		}
		return 0
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		err := c.run(ctx, args[1:], std)
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			return 2
		}
		if said, ok := errors.AsType[exitError](err); ok {
			if said.err != nil {
				fmt.Fprintf(std.err, "hookledger %s: %v\n", c.name, said.err)
			}
			return said.code
		}
		fmt.Fprintf(std.err, "hookledger %s: %v\n", c.name, err)
		return 1
	}
	fmt.Fprintf(std.err, "hookledger: there is no subcommand %q\n", args[0])
	usage(std.err)
	return 2
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Usage: hookledger SUBCOMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s  %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nhookledger SUBCOMMAND -h tells the flags of one.\n")
}

func runVersion(_ context.Context, _ []string, std stdio) error {
	_, err := fmt.Fprintln(std.out, "hookledger", version)
	return err
}
