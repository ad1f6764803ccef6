package broker

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"hookledger/deploy/embedded/datadir"
)

// A process beside the broker's syncs its files and writes none: the marks are
// the broker's own.
func TestOutside(t *testing.T) {
	path := t.TempDir()
	dir, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	for _, mode := range []Fsync{FsyncGroup, FsyncNone} {
		o, err := SyncOutside(path, mode, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Sync(t.Context()); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if err := o.Close(); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if files, err := os.ReadDir(filepath.Join(path, "broker")); err != nil || len(files) != 0 {
		t.Errorf("it left %v, %v", files, err)
	}
	if _, err := SyncOutside(path, "never", slog.New(slog.DiscardHandler), nil); err == nil {
		t.Error("an unknown mode was taken")
	}
	if _, err := SyncOutside(filepath.Join(path, "none"), FsyncGroup, slog.New(slog.DiscardHandler), nil); err == nil {
		t.Error("a folder that is not there was taken")
	}
}
