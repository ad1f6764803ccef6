//go:build !linux

package engine

// confine does nothing here: only Linux lets a process give up files and
// addresses by itself. The SQL rules of auditor.go stand alone.
func confine(ServeOptions) error { return nil }
