package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hookledger/deploy/embedded/datadir"
)

// cleanName marks a clean stop: removed at start, written when everything else is on disk.
const cleanName = "clean"

var configs = map[string]string{
	// A hundred years: an operator who comes back after a month finds every group where it stood.
	"offset.retention.ms": "3153600000000",
	// Only DeleteRecords deletes. One record with an old timestamp would take fresher ones with it.
	"log.retention.ms":    "-1",
	"log.retention.bytes": "-1",
}

// prepare makes the folder fit for kfake's load (see the package comment), refuses one that kfake would
// take for a new one although it holds records, and says whether the last stop was unclean.
func prepare(dir string) (unclean bool, err error) {
	has := func(name string) bool {
		_, e := os.Stat(filepath.Join(dir, name))
		if e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
		return e == nil
	}
	clean := has(cleanName)
	meta, topics := has("meta.json"), has("topics.json")
	parts, e := os.ReadDir(filepath.Join(dir, "partitions"))
	if e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	if err != nil {
		return false, fmt.Errorf("look at the log in %q: %w", dir, err)
	}
	// Without either file kfake starts empty, and writes the missing one anew.
	if len(parts) > 0 && !(meta && topics) {
		return false, fmt.Errorf("the log in %q is damaged: partitions/ holds %d partitions, but meta.json or topics.json, "+
			"which name them, is missing: bring both back from a backup of the folder, or move the folder away to begin with an empty log",
			dir, len(parts))
	}
	for _, name := range []string{cleanName, "sasl.json", "session_state.json"} {
		if e := os.Remove(filepath.Join(dir, name)); e != nil && !errors.Is(e, os.ErrNotExist) {
			return false, e
		}
	}
	return meta && !clean, datadir.SyncFolder(dir)
}

// afterLoad removes what must be read once only, or lie in no file.
func afterLoad(dir string) error {
	for _, name := range []string{"seq_windows.json", "sasl.json"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return datadir.SyncFolder(dir)
}

func markClean(dir string) error {
	if err := os.Remove(filepath.Join(dir, "sasl.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return datadir.WriteFile(filepath.Join(dir, cleanName), nil)
}
