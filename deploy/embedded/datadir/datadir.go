// Package datadir owns the one folder that holds everything an embedded Hookledger keeps: the broker's
// files, the engine's, keys, snapshots.
//
// It promises that at most one process has the folder open (flock on the file lock), that nobody but the
// folder's owner may read it (0700, files 0600), and that whoever reads serving.json either gets the
// addresses and credentials of a process that is serving now, or an error that says why not.
//
// It never removes data, and never takes a lock by force: a lock belongs to a living process, and ends with it.
//
// Decisions. flock rather than a file with a process id: the kernel gives it back when the process dies,
// however it dies, so there is no stale lock to judge. The process id in the lock file is for the error
// message only. serving.json is judged by the lock, not by whether its process id lives, because process
// ids are used again.
package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MinFree is the free space in bytes below which Open refuses: the broker and the engine answer a full
// disk with failed writes, and a start that fails at once, saying so, is better than a service that stops
// in its first minute.
const MinFree = 128 << 20

const (
	lockName    = "lock"
	servingName = "serving.json"
)

// The folders inside the data folder, each owned by the part that it is named after.
var folders = [...]string{"broker", "engine", "keys", "subscriptions", "router"}

// Dir is an open data folder: as long as it is open, no other process can open it.
type Dir struct {
	path   string
	lock   *os.File
	served bool
}

// ErrNoSpace is wrapped by the error of Open when the file system has less than MinFree bytes left.
var ErrNoSpace = errors.New("not enough free disk space")

// Open makes the folder if it is not there (mode 0700, its parents too), takes its lock and makes the
// folders inside it. New directory entries are on disk when it returns. A folder that another process
// holds gives a *LockedError.
func Open(path string) (*Dir, error) { return open(path, freeBytes) }

func open(path string, free func(string) (uint64, error)) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data folder %q: %w", path, err)
	}
	if err := makeFolder(abs); err != nil {
		return nil, fmt.Errorf("data folder %q: %w", abs, err)
	}
	lock, err := acquire(abs)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: abs, lock: lock}
	if err := d.prepare(free); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

func (d *Dir) prepare(free func(string) (uint64, error)) error {
	n, err := free(d.path)
	if err != nil {
		return fmt.Errorf("data folder %q: ask for free disk space: %w", d.path, err)
	}
	if n < MinFree {
		return fmt.Errorf("data folder %q: %w: %d MiB left, want %d MiB: free some space, or give another --data-dir",
			d.path, ErrNoSpace, n>>20, MinFree>>20)
	}
	// What a process that died left behind speaks of addresses where nobody listens.
	if err := os.Remove(filepath.Join(d.path, servingName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the %s of an earlier process: %w", servingName, err)
	}
	for _, f := range folders {
		if err := makeFolder(filepath.Join(d.path, f)); err != nil {
			return fmt.Errorf("data folder %q: %w", d.path, err)
		}
	}
	return SyncFolder(d.path)
}

// Path returns the folder's absolute path.
func (d *Dir) Path() string { return d.path }

// Broker returns the folder of the embedded broker's log.
func (d *Dir) Broker() string { return filepath.Join(d.path, "broker") }

// Engine returns the folder of the embedded ClickHouse engine.
func (d *Dir) Engine() string { return filepath.Join(d.path, "engine") }

// Keys returns the folder of key files.
func (d *Dir) Keys() string { return filepath.Join(d.path, "keys") }

// Subscriptions returns the folder of snapshots of the fold of config, which may be thrown away.
func (d *Dir) Subscriptions() string { return filepath.Join(d.path, "subscriptions") }

// Router returns the folder of the router's memory of event ids, which may be thrown away.
func (d *Dir) Router() string { return filepath.Join(d.path, "router") }

// Close removes serving.json, if this process wrote it, and gives the folder back. The lock file stays:
// removing it would let two processes lock two files of the same name.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	var errs []error
	if d.served {
		if err := os.Remove(filepath.Join(d.path, servingName)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove %s: %w", servingName, err))
		}
		errs = append(errs, SyncFolder(d.path))
	}
	// Closing the descriptor gives the lock back; it is closed on exec, so no child holds a copy.
	errs = append(errs, d.lock.Close())
	d.lock = nil
	return errors.Join(errs...)
}

// makeFolder makes path and what is missing above it, mode 0700, each new entry synced in its parent. An
// existing folder that others may enter is closed to them: keys and credentials lie below it.
func makeFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%q is a file, want a folder", path)
	case err == nil && info.Mode().Perm()&0o077 != 0:
		if err := os.Chmod(path, 0o700); err != nil {
			return fmt.Errorf("%q has mode %v and could not be closed to other users (want 0700, owned by the user who runs this): %w",
				path, info.Mode().Perm(), err)
		}
		return nil
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if _, err := os.Stat(parent); errors.Is(err, os.ErrNotExist) {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return SyncFolder(parent)
}

// SyncFolder writes a folder's entries to disk: a file that was made, renamed or removed is so after a
// power cut only when this returned.
func SyncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	// Some file systems cannot sync a folder and say EINVAL; they have nothing to sync.
	if errors.Is(err, unix.EINVAL) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("sync folder %q: %w", path, err)
	}
	return errors.Join(err, f.Close())
}

func freeBytes(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil //nolint:unconvert // the types differ between systems
}
