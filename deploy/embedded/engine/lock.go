package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockDescriptor is at least this. The system closes an ending process's
// descriptors in ascending order, and the engine has a lock of its own (status),
// on which it doesn't wait but fails: ours must be the last to go.
const lockDescriptor = 512

// lockFolder takes the engine's data folder for as long as this process lives,
// waiting while another holds it: usually the child of a parent that died a moment
// ago. The lock is never given back before, because the engine isn't either.
func lockFolder(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the engine's data folder: %w", err)
	}
	path := filepath.Join(dir, "engine.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening the engine's lock: %w", err)
	}
	// A bare descriptor, which no finalizer closes.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, lockDescriptor)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keeping the engine's lock open: %w", err)
	}
	for {
		err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return errors.Join(fmt.Errorf("locking %s: %w", path, err), unix.Close(fd))
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waiting for another engine to leave %s: %w", path, ctx.Err()), unix.Close(fd))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
