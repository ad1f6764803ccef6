package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"hookledger/consumers/dispatcher"
	"hookledger/consumers/repair"
	"hookledger/consumers/router"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
)

// errUnmended ends a repair that found something and left it as it is.
var errUnmended = errors.New("not everything is as it has to be")

func runRepair(ctx context.Context, args []string, std stdio) (err error) {
	var cfg config
	f := flag.NewFlagSet("repair", flag.ContinueOnError)
	cfg.placeFlags(f)
	dry := f.Bool("dry-run", false, "say what would be done, and change nothing")
	if err := cfg.parse(f, args, std); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if _, err := os.Stat(cfg.dataDir); err != nil && cfg.embeddedBroker() { // looking makes nothing
		return fmt.Errorf("--data-dir: %w", err)
	}
	at, err := openPlace(&cfg, log, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	if err := at.startBroker(ctx, nil, nil); err != nil {
		return err
	}
	if err := at.startEngine(ctx); err != nil {
		return err
	}
	journal, err := at.openLog(ctx, nil)
	if err != nil {
		return err
	}
	defer journal.Close()
	serving, err := served(ctx, at, journal)
	if err != nil {
		return err
	}
	past, err := history.Open(history.Options{DSN: at.dsn(userService), Database: cfg.clickhouseDB})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	if err := past.Check(ctx); err != nil {
		return err
	}
	known, stop, err := webhooks(ctx, journal, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	report, err := repair.Examine(ctx, repair.Options{
		Log: journal, History: past, Known: known, Actor: operator(), Now: time.Now, Moving: serving,
	})
	if err != nil {
		return err
	}
	if len(report.Findings) == 0 {
		fmt.Fprintln(std.out, "Nothing to repair: log, commits, checkpoints and history fit together.")
		return nil
	}
	printFindings(std.out, report)
	switch {
	case serving:
		fmt.Fprintln(std.out, "A server is running, so this was a look at a moving log and nothing was changed. Stop it (all nodes), and run this again.")
		return errUnmended
	case !report.Mendable():
		return errUnmended
	case *dry:
		fmt.Fprintln(std.out, "Nothing was changed (--dry-run).")
		return errUnmended
	}
	unmended := 0
	for _, f := range report.Findings {
		if !f.Mendable() {
			unmended++
		}
	}
	if err := report.Mend(ctx, func(f *repair.Finding) { fmt.Fprintf(std.out, "done: %s: %s\n", f.Where, f.Plan) }); err != nil {
		return fmt.Errorf("%w: what was done is on the record; run the same again to go on", err)
	}
	if err := at.forgetLocal(); err != nil {
		return err
	}
	fmt.Fprintln(std.out, "Mended, and on the record (change call_started and call_answered of account "+repair.Account+" in config_changes). Start the server;"+
		" then `hookledger rebuild` makes the history from the log as it is now. On nodes that joined, or on other machines, remove the folders subscriptions and router below --data-dir.")
	if unmended > 0 {
		return errUnmended
	}
	return nil
}

func printFindings(w io.Writer, report *repair.Report) {
	for _, f := range report.Findings {
		fmt.Fprintf(w, "%s: %s\n", f.Where, f.What)
		for _, fact := range f.Facts {
			fmt.Fprintf(w, "    %s\n", fact)
		}
		if f.Mendable() {
			fmt.Fprintf(w, "  to do: %s\n", f.Plan)
		} else {
			fmt.Fprintln(w, "  no repair can mend this")
		}
	}
}

// served says whether somebody works on the log.
func served(ctx context.Context, at *place, journal *ledger.Log) (bool, error) {
	if at.served != nil {
		return true, nil
	}
	for _, group := range []string{router.Group, dispatcher.Group} {
		n, err := journal.Members(ctx, group)
		if err != nil {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, nil
}

// webhooks folds `config` and says which webhooks it has.
func webhooks(ctx context.Context, journal *ledger.Log, log *slog.Logger) (known func(ids.ID) bool, stop func() error, err error) {
	config := subscriptions.NewNode(journal, subscriptions.Options{Logger: log})
	folding, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- config.Run(folding) }()
	stop = func() error {
		cancel()
		return <-ended
	}
	if err := caughtUp(ctx, config); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return func(id ids.ID) bool {
		_, ok := config.ByID(id)
		return ok
	}, stop, nil
}

// operator is who runs the command, as the record names them.
func operator() string {
	name := "operator"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// forgetLocal removes what this node remembers of the log: it may be of records
// that others took the place of.
func (p *place) forgetLocal() error {
	if p.dir == nil {
		return nil
	}
	for _, folder := range []string{p.dir.Subscriptions(), p.dir.Router()} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
