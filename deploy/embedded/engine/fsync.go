package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ClickHouse syncs nothing by default but the files that define tables: replicas are its answer to a power cut. The
// embedded engine has none, and the library moreover removes the parts that a merge has read as soon as it is done
// (old_parts_lifetime is 0 in it, 480 s in a server), while the merged one is in the page cache only: a power cut
// could take rows that had been there for weeks. So inserts and merges are synced before they count.
//
// One thing is left. A part counts once its folder is renamed into place, and ClickHouse syncs that folder then, not
// the one above it, with fdatasync: ext4 has nothing to write for that, and the rename waits for the journal (5 s).
// What is renamed later never becomes durable before what was renamed earlier, so places are never ahead of rows;
// but who acts on an insert, as the trim of the log does, calls Sync first.

// writeSettings writes the engine's settings of tables, which it takes from a file only, and returns its path.
func writeSettings(dir string, fsync bool) (string, error) {
	text := "<clickhouse/>\n"
	if fsync {
		text = `<clickhouse>
  <merge_tree>
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
    <min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>
  </merge_tree>
</clickhouse>
`
	}
	path := filepath.Join(dir, "settings.xml")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the engine's data folder: %w", err)
	}
	// Not synced: it is written at each start.
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("writing the engine's settings: %w", err)
	}
	return path, nil
}

// folders remembers which folders of the store are synced.
type folders struct {
	mu     sync.Mutex
	synced map[string]time.Time // the time of change of each when it was synced
}

// Sync returns nil once every insert that was acknowledged before the call survives a power cut, given
// Options.Fsync. It syncs the folders in which parts appear, those that changed since the last call.
func (e *Engine) Sync(ctx context.Context) error {
	if err := e.folders.sync(ctx, e.o.DataDir); err != nil {
		return fmt.Errorf("syncing the engine's folders in %s: %w", e.o.DataDir, err)
	}
	return nil
}

// tableDepth is how deep the folder of a table lies: store/abc/abcdef...
const tableDepth = 3

// mtimeGrain is how close together two renames may leave a folder with the same time of change.
const mtimeGrain = 50 * time.Millisecond

func (f *folders) sync(ctx context.Context, root string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.synced == nil {
		f.synced = make(map[string]time.Time)
	}
	return f.walk(ctx, root, 0)
}

func (f *folders) walk(ctx context.Context, path string, depth int) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) { // dropped meanwhile
		delete(f.synced, path)
		return nil
	}
	if err != nil {
		return err
	}
	if depth < tableDepth {
		entries, err := os.ReadDir(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() || depth == 0 && e.Name() != "store" && e.Name() != "metadata" {
				continue
			}
			if err := f.walk(ctx, filepath.Join(path, e.Name()), depth+1); err != nil {
				return err
			}
		}
	}
	if at, ok := f.synced[path]; ok && at.Equal(info.ModTime()) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	began := time.Now()
	d, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return err
	}
	if began.Sub(info.ModTime()) > mtimeGrain {
		f.synced[path] = info.ModTime()
	}
	return nil
}
