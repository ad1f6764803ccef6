//go:build !unix

package sender

import "net"

// peeker can't look without waiting here, so no connection is kept.
type peeker struct{}

func (*peeker) attach(net.Conn) error { return nil }
func (*peeker) silent() bool          { return false }
