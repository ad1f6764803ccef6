package broker

import (
	"errors"
	"time"
)

// adaptiveFlusher uses syncfs as long as that is quick, and syncs single files while it is not: syncfs also
// waits for what others wrote to the file system, and the engine beside us writes a lot when it merges.
// Whether it is quick again is tried beside the other, so that nobody waits for the answer.
//
// Either is enough at any time. What the one has synced the other may sync once more, which costs nothing.
type adaptiveFlusher struct {
	fs, files flusher

	busy  bool          // single files are synced
	pause time.Duration // between tries of syncfs
	next  time.Time     // of the next
	try   chan try      // of the one that runs, nil if none does
}

// try is what came of a syncfs that nobody waited for.
type try struct {
	took time.Duration
	err  error
}

const (
	slowSync = 25 * time.Millisecond
	minPause = time.Second
	maxPause = 30 * time.Second
)

func (a *adaptiveFlusher) flush() error {
	if a.busy {
		if err := a.retry(); err != nil {
			return err
		}
	}
	if a.busy {
		return a.files.flush()
	}
	start := time.Now()
	err := a.fs.flush()
	if time.Since(start) > slowSync {
		a.busy, a.pause = true, minPause
		a.next = time.Now().Add(a.pause)
	}
	return err
}

// retry ends busy once a syncfs was quick. An error of syncfs counts as one of this flush: the kernel will not
// report it again.
func (a *adaptiveFlusher) retry() error {
	select {
	case t := <-a.try: // not while it is nil
		a.try = nil
		if t.err != nil {
			return t.err
		}
		a.busy = t.took > slowSync
		a.pause = min(2*a.pause, maxPause)
		a.next = time.Now().Add(a.pause)
		return nil
	default:
	}
	if a.try != nil || time.Now().Before(a.next) {
		return nil
	}
	answer := make(chan try, 1)
	a.try = answer
	go func() { // ends with its syncfs; close waits for it
		start := time.Now()
		err := a.fs.flush()
		answer <- try{time.Since(start), err}
	}()
	return nil
}

func (a *adaptiveFlusher) close() error {
	var err error
	if a.try != nil {
		err = (<-a.try).err
	}
	return errors.Join(err, a.fs.close(), a.files.close())
}
