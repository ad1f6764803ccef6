package broker

import "golang.org/x/sys/unix"

// There is no syncfs, and fsync leaves data in the drive's cache: only F_FULLFSYNC asks the drive for it.
func osSyscalls() *syscalls {
	full := func(fd int) error {
		for {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
			if err != unix.EINTR { //nolint:errorlint // an errno, never wrapped
				return err
			}
		}
	}
	return &syscalls{dataSync: full, sync: full}
}
