package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"hookledger/deploy/embedded/backup"
	"hookledger/deploy/embedded/datadir"
)

// runBackup copies the data folder, with a server on it or without.
func runBackup(ctx context.Context, args []string, std stdio) (err error) {
	var cfg config
	f := flag.NewFlagSet("backup", flag.ContinueOnError)
	cfg.placeFlags(f)
	to := f.String("to", "", "where to: a `path` that is not there yet, of a folder, or of a file that ends in .tar.gz")
	if err := cfg.parse(f, args, std); err != nil {
		return err
	}
	if !cfg.embeddedBroker() {
		return errors.New("--kafka-brokers: the log is in Kafka, and is backed up there; of this program's own keep keys/secrets.json")
	}
	if *to == "" {
		return errors.New("--to: say where the backup goes, such as --to /backup/hookledger-monday.tar.gz")
	}
	if _, err := os.Stat(filepath.Join(cfg.dataDir, "broker")); err != nil {
		return fmt.Errorf("--data-dir: there is no data folder of an embedded server: %w", err)
	}
	o := backup.Options{Data: cfg.dataDir, To: *to, Program: "hookledger " + version}
	dir, err := datadir.Open(cfg.dataDir)
	if _, locked := errors.AsType[*datadir.LockedError](err); locked {
		o.Serving = true
	} else if err != nil {
		return err
	} else {
		defer func() { err = errors.Join(err, dir.Close()) }()
	}
	m, err := backup.Take(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "backed up %d files, %.1f MiB, of %s to %s\n", len(m.Files), float64(m.Bytes())/(1<<20), cfg.dataDir, *to)
	return describe(std.out, m)
}

// runRestore makes a data folder from a backup.
func runRestore(_ context.Context, args []string, std stdio) error {
	var cfg config
	f := flag.NewFlagSet("restore", flag.ContinueOnError)
	cfg.placeFlags(f)
	from := f.String("from", "", "`path` of the backup")
	if err := cfg.parse(f, args, std); err != nil {
		return err
	}
	if *from == "" {
		return errors.New("--from: say where the backup is")
	}
	m, err := backup.Restore(*from, cfg.dataDir)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "restored %d files, %.1f MiB, to %s, as they were at %s; all checksums fit\n",
		len(m.Files), float64(m.Bytes())/(1<<20), cfg.dataDir, m.CreatedAt.Format("2006-01-02 15:04:05.000 MST"))
	return describe(std.out, m)
}

// describe says which records a backup holds, and what it lacks.
func describe(out io.Writer, m *backup.Manifest) error {
	var err error
	for _, p := range m.Partitions {
		_, e := fmt.Fprintf(out, "  %s/%d: offsets %d to %d\n", p.Topic, p.Partition, p.Start, p.End-1)
		err = errors.Join(err, e)
	}
	for _, what := range m.Missing {
		_, e := fmt.Fprintf(out, "  not in it: %s\n", what)
		err = errors.Join(err, e)
	}
	return err
}
