package sender_test

import (
	"net"
	"syscall"
	"testing"

	"hookledger/consumers/sender"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// A host that drops the SYN: a listener whose queue is full and that never accepts.
func TestConnectTimeout(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}
	for full := false; !full; {
		c, err := (&net.Dialer{Timeout: short}).Dial("tcp", addr.String())
		if err != nil {
			full = true
			continue
		}
		defer c.Close()
	}
	res := newSender(t, sender.Options{Timeout: short}).Send(t.Context(), request("http://"+addr.String(), nil))
	expectation{facts.Outcome_OUTCOME_TIMEOUT, 0, false, "connecting"}.check(t, res)
}
