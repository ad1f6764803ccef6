//go:build unix

package sender

import (
	"errors"
	"net"
	"syscall"
)

// peeker tells whether a kept connection has been closed, reset or written to
// by the receiver since its last answer. It costs one system call that doesn't
// wait, where net/http keeps a goroutine reading on every idle connection.
type peeker struct {
	raw    syscall.RawConn
	look   func(fd uintptr) bool
	quiet  bool
	buffer [1]byte
}

func (p *peeker) attach(c net.Conn) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return errors.New("the dialled connection has no file descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	p.raw = raw
	p.look = func(fd uintptr) bool { // made once, so that silent doesn't allocate
		_, err := syscall.Read(int(fd), p.buffer[:])
		p.quiet = err == syscall.EAGAIN
		return true
	}
	return nil
}

func (p *peeker) silent() bool {
	p.quiet = false
	return p.raw.Read(p.look) == nil && p.quiet
}
