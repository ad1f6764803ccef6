package broker

import (
	"fmt"
	"os"
)

// syscalls are what a sync asks of the system.
type syscalls struct {
	syncFS   func(fd int) error // nil where the system has none
	dataSync func(fd int) error // of a file
	sync     func(fd int) error // of a folder
}

func newFlusher(dir string, s Strategy, sys *syscalls) (flusher, error) {
	switch {
	case s == StrategyFiles, s == StrategyAuto && sys.syncFS == nil:
		return newFileFlusher(dir, sys), nil
	case s == StrategyAuto, s == StrategySyncFS && sys.syncFS != nil:
		f, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		return &fsFlusher{dir: f, sys: sys}, nil
	case s == StrategySyncFS:
		return nil, fmt.Errorf("sync strategy %q: this system has no syncfs, use %q", s, StrategyFiles)
	}
	return nil, fmt.Errorf("sync strategy %q: want %q or %q", s, StrategySyncFS, StrategyFiles)
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
