package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A probe of a reader (see held) holds a shared lock for some microseconds, and a process that was told to
// stop needs a moment to end: so Open asks again for this long before it says that the folder is taken.
const (
	lockPatience = 300 * time.Millisecond
	lockPause    = 10 * time.Millisecond
)

// LockedError says that another process has the data folder open.
type LockedError struct {
	Path string
	PID  int // 0 if the holder has not said
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = "process " + strconv.Itoa(e.PID)
	}
	return fmt.Sprintf("data folder %q is in use by %s: stop it first, use the running server through its API, or give another --data-dir",
		e.Path, who)
}

func acquire(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock file: %w", err)
	}
	deadline := time.Now().Add(lockPatience)
	pause := time.NewTicker(lockPause)
	defer pause.Stop()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			break
		}
		<-pause.C
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = &LockedError{Path: dir, PID: holder(path)}
	case err != nil:
		err = fmt.Errorf("lock %q: %w (the data folder must lie on a file system that supports flock)", path, err)
	default:
		err = writePID(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}

// holder reads who says to hold the lock; 0 if that can't be read.
func holder(lockPath string) int {
	b, err := os.ReadFile(lockPath)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// held says whether a living process has the folder open, without taking it: a shared lock is refused
// exactly while somebody holds the exclusive one, and two readers don't disturb each other.
func held(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	taken := errors.Is(err, unix.EWOULDBLOCK)
	if taken {
		err = nil
	}
	return taken, errors.Join(err, f.Close())
}
