package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"hookledger/consumers/verifier"
	"hookledger/ledger"
	"hookledger/projections/history"
)

const verifyHelp = `verify compares the history in ClickHouse with the log and names every row that is
missing, too many, doubled or different: config_changes, events and attempts record
by record, the states of deliveries and the hourly sums folded again.

Use it whenever someone asks whether the history can be trusted: after a crash, a
restore, a full disk, or a change by hand; before an audit; each night. It only
reads, and may run beside a live server.

It reads the whole log and scans the tables once, so it costs processor time and
disk reads for as long as it runs. Rows whose records the log no longer holds are
counted as unchecked.

Exit code: 0 equal; 1 different (see the report, then hookledger rebuild); 2 it could
not be done, which says nothing about the history.
`

// Exit codes of verify.
const (
	verifyDifferent = 1
	verifyCouldNot  = 2
)

func runVerify(ctx context.Context, args []string, std stdio) error {
	var cfg config
	f := flag.NewFlagSet("verify", flag.ContinueOnError)
	cfg.placeFlags(f)
	asJSON := f.Bool("json", false, "print the report as JSON")
	list := f.Int("list", 20, "differences of each table that are listed; all are counted")
	memory := f.Int64("memory", 512, "`MiB` of delivery states that may be held; less reads the log more often")
	wait := f.Duration("wait", time.Minute, "how long the history may take to catch up with the log")
	if err := cfg.parseWith(f, args, std, verifyHelp); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return exitError{verifyCouldNot, err}
	}
	var report *verifier.Report
	err := withHistory(ctx, &cfg, std, func(_ *place, journal *ledger.Log, past *history.History, _ *slog.Logger) error {
		live, _, err := past.Live(ctx)
		if err != nil {
			return err
		}
		v, err := verifier.New(verifier.Options{Log: journal, History: live, Memory: *memory << 20, List: *list, Wait: *wait})
		if err != nil {
			return err
		}
		return progress(func() (string, int64, int64) {
			read, total, phase := v.Progress()
			return phase, read, total
		}).show(ctx, std.err, func(ctx context.Context) (err error) {
			report, err = v.Run(ctx)
			return err
		})
	})
	if err != nil {
		return exitError{verifyCouldNot, err}
	}
	if *asJSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(struct {
			Equal     bool   `json:"equal"`
			Different uint64 `json:"different"`
			*verifier.Report
		}{report.Equal(), report.Different(), report}); err != nil {
			return exitError{verifyCouldNot, err}
		}
	} else {
		printReport(std.out, report)
	}
	if !report.Equal() {
		return exitError{code: verifyDifferent}
	}
	return nil
}

func printReport(w io.Writer, r *verifier.Report) {
	fmt.Fprintf(w, "History %s against the log, %s:\n\n", r.Database, r.Began.Format(time.RFC3339))
	fmt.Fprintf(w, "  %-16s %12s %10s %10s %10s %9s\n", "table", "compared", "different", "unchecked", "moving", "seconds")
	for _, t := range r.Tables {
		fmt.Fprintf(w, "  %-16s %12d %10d %10d %10d %9.1f\n", t.Name, t.Compared, t.Different, t.Unchecked, t.Moving, t.Seconds)
	}
	fmt.Fprintln(w)
	for _, t := range r.Tables {
		for _, d := range t.Differences {
			fmt.Fprintf(w, "  %s: %s %s", t.Name, d.Kind, d.Row)
			if d.Detail != "" {
				fmt.Fprintf(w, " (%s)", d.Detail)
			}
			fmt.Fprintln(w)
		}
		if rest := t.Different - uint64(len(t.Differences)); rest > 0 {
			fmt.Fprintf(w, "  %s: and %d more (--list)\n", t.Name, rest)
		}
	}
	if r.Equal() {
		fmt.Fprintf(w, "Equal: %d records read in %.1f s.\n", r.Records, r.Seconds)
		return
	}
	fmt.Fprintf(w, "\nDifferent: %d rows are not what the log says. `hookledger rebuild` makes the history again.\n", r.Different())
}
