package broker

import "golang.org/x/sys/unix"

func osSyscalls() *syscalls {
	return &syscalls{
		syncFS:   again(unix.Syncfs),
		dataSync: again(unix.Fdatasync),
		sync:     again(unix.Fsync),
	}
}

// again repeats what a signal interrupted: the Go runtime sends itself signals to preempt goroutines.
func again(call func(int) error) func(int) error {
	return func(fd int) error {
		for {
			if err := call(fd); err != unix.EINTR { //nolint:errorlint // an errno, never wrapped
				return err
			}
		}
	}
}
