package broker

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// syscalls are what a sync asks of the system.
type syscalls struct {
	syncFS   func(fd int) error // nil where the system has none
	dataSync func(fd int) error // of a file
	sync     func(fd int) error // of a folder
}

func newFlusher(dir string, s Strategy, sys *syscalls) (flusher, error) {
	switch s {
	case StrategyFiles:
		return newFileFlusher(dir, sys), nil
	case StrategyAuto, StrategySyncFS:
	default:
		return nil, fmt.Errorf("sync strategy %q: want %q or %q", s, StrategySyncFS, StrategyFiles)
	}
	f, err := newFSFlusher(dir, sys)
	if s == StrategySyncFS {
		return f, err
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return newFileFlusher(dir, sys), nil
	}
	if err != nil {
		return nil, err
	}
	return &adaptiveFlusher{fs: f, files: newFileFlusher(dir, sys)}, nil
}

// newFSFlusher tries syncfs once: an old kernel or a sandbox may not have it.
func newFSFlusher(dir string, sys *syscalls) (flusher, error) {
	if sys.syncFS == nil {
		return nil, fmt.Errorf("sync strategy %q: %w on this system", StrategySyncFS, errors.ErrUnsupported)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	f := &fsFlusher{dir: d, sys: sys}
	err = f.flush()
	if errors.Is(err, syscall.EPERM) {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return f, nil
}

// fsFlusher syncs the whole file system. It holds one descriptor for its life: the kernel reports a failed
// write-back once to each descriptor that was open when it happened.
type fsFlusher struct {
	dir *os.File
	sys *syscalls
}

func (f *fsFlusher) flush() error {
	if err := f.sys.syncFS(int(f.dir.Fd())); err != nil {
		return fmt.Errorf("syncfs %q: %w", f.dir.Name(), err)
	}
	return nil
}

func (f *fsFlusher) close() error { return f.dir.Close() }
