package broker

import (
	"errors"
	"time"
)

// adaptiveFlusher uses syncfs as long as that is quick, and syncs single files while it is not: syncfs also
// waits for what others wrote to the file system, and the engine beside us writes a lot when it merges.
//
// Either is enough at any time. What the one has synced the other may sync once more, which costs nothing.
type adaptiveFlusher struct {
	fs, files flusher
	until     time.Time     // when syncfs is tried again
	pause     time.Duration // how long that was put off last
}

const (
	slowSync = 10 * time.Millisecond
	minPause = time.Second
	maxPause = 30 * time.Second
)

func (a *adaptiveFlusher) flush() error {
	start := time.Now()
	if start.Before(a.until) {
		return a.files.flush()
	}
	err := a.fs.flush()
	if end := time.Now(); end.Sub(start) > slowSync {
		a.pause = min(max(2*a.pause, minPause), maxPause)
		a.until = end.Add(a.pause)
	} else {
		a.pause = 0
	}
	return err
}

func (a *adaptiveFlusher) close() error { return errors.Join(a.fs.close(), a.files.close()) }
