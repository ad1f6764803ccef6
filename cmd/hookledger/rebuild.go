package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"hookledger/consumers/rebuilder"
	"hookledger/ledger"
	"hookledger/projections/history"
)

const rebuildHelp = `rebuild makes the history in ClickHouse again from the log, in a database of its
own beside the live one, verifies it, and switches every node over. The service
goes on meanwhile, and answers are the same before, during and after.

Use it when hookledger verify found differences; when the historian ended and says
that log and history don't fit together; after a table was lost or changed by hand;
or when a migration of the history was changed after it was applied. It loses
nothing: until the switch the old history is live, and stopping it (or a crash) at
any moment leaves one live history. Then run it again.

It needs room on ClickHouse's disk for a second history. The old one is kept until
the next rebuild, --drop-old or --clean.

It runs beside a live server on the same --data-dir, without one, or with the
--kafka-brokers and --clickhouse-dsn of a cluster, from any machine that reaches both.
What the log no longer holds (--history-retention) is carried over from the live
history, and said.

Exit code: 0 switched; 1 not done, the live history is as it was.
`

func runRebuild(ctx context.Context, args []string, std stdio) (err error) {
	var cfg config
	f := flag.NewFlagSet("rebuild", flag.ContinueOnError)
	cfg.placeFlags(f)
	workers := f.Int("workers", 0, "partitions read at a time (default: one for each processor, at most 4)")
	dropOld := f.Bool("drop-old", false, "drop the old history after the switch, to give its room back")
	clean := f.Bool("clean", false, "make nothing: only drop every history that is not live")
	anyDisk := f.Bool("any-disk", false, "begin though ClickHouse's disk seems to have too little room")
	memory := f.Int64("verify-memory", 512, "`MiB` that verifying may hold")
	if err := cfg.parseWith(f, args, std, rebuildHelp); err != nil {
		return err
	}
	return withHistory(ctx, &cfg, std, func(at *place, journal *ledger.Log, past *history.History, log *slog.Logger) error {
		r := rebuilder.New(rebuilder.Options{
			Log: journal, History: past, Program: version, Workers: *workers, DropOld: *dropOld, AnyDisk: *anyDisk,
			VerifyMemory: *memory << 20, Alone: at.broker != nil, Sync: at.syncHistory, Logger: log,
		})
		if *clean {
			return r.Clean(ctx)
		}
		var result *rebuilder.Result
		err := progress(func() (string, int64, int64) {
			step, phase, read, total := r.Progress()
			what := string(step)
			if phase != "" {
				what += ": " + phase
			}
			return what, read, total
		}).show(ctx, std.err, func(ctx context.Context) (err error) {
			result, err = r.Run(ctx)
			return err
		})
		if result != nil && result.Report != nil && !result.Report.Equal() {
			printReport(std.out, result.Report)
		}
		if err != nil {
			return err
		}
		printRebuild(std, result)
		return nil
	})
}

func printRebuild(std stdio, r *rebuilder.Result) {
	fmt.Fprintf(std.out, "The history was made again in %s from %d records in %s, verified, and is live; before it was %s.\n",
		r.Database, r.Records, r.Took.Round(100*time.Millisecond), r.Before)
	for _, c := range r.Carried {
		if c.Rows == 0 {
			fmt.Fprintf(std.out, "The log of %s/%d begins at offset %d, and the history before had nothing older.\n", c.Topic, c.Partition, c.Start)
			continue
		}
		fmt.Fprintf(std.out, "The log of %s/%d begins at offset %d: %d older rows, from %s on, were carried over from %s; they can't be verified.\n",
			c.Topic, c.Partition, c.Start, c.Rows, c.Oldest.Format(time.RFC3339), r.Before)
	}
	if len(r.Kept) > 0 {
		fmt.Fprintf(std.out, "Kept, and taking room: %s. Drop with: hookledger rebuild --clean\n", strings.Join(r.Kept, ", "))
	}
}

// withHistory reaches log and history, those of a running server too, for a
// command that looks at both.
func withHistory(ctx context.Context, cfg *config, std stdio, do func(*place, *ledger.Log, *history.History, *slog.Logger) error) (err error) {
	log := cfg.logger(std.err)
	if cfg.logLevel == slog.LevelInfo {
		log = quiet(log)
	}
	if cfg.embeddedEngine() || cfg.embeddedBroker() { // looking makes nothing
		if _, err := os.Stat(cfg.dataDir); err != nil {
			return fmt.Errorf("--data-dir: %w: start `hookledger serve` there once", err)
		}
	}
	at, err := openPlace(cfg, log, true)
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
	past, err := history.Open(history.Options{DSN: at.dsn(userService), Database: cfg.clickhouseDB, AuditDatabase: cfg.auditDB})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	return do(at, journal, past, log)
}
