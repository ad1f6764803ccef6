package broker

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Strategy is how a group sync brings the broker's files to the disk.
//
// Measured on two cores and ext4 at 200 records a second of 1 KB in 4 partitions, each acknowledged after its
// sync (BenchmarkAckAt200): p50 and p99 of the acknowledgement in ms, and CPU s for 1,000 records with the
// client's part. Other work went on on the machine, so take the p99 for their order.
//
//	beside it, on the same file system   none          syncfs         files
//	nothing                              0.5/2.4 0.7   1.2/11  1.0    1.8/29 1.7
//	20 MB/s of writes                    0.4/2.2 0.7   1.3/6   1.0    1.6/11 1.7
//	100 MB/s of writes                                 2.7/118 1.3    1.5/17 1.5
//
// So syncfs is cheaper, and suffers from a neighbour who writes much; the engine's merges do. With 64 callers
// that each wait for their record and its sync (BenchmarkProduce) 6,600/s were acknowledged with syncfs, 5,600/s
// with files, 16,600/s with none.
type Strategy string

const (
	// StrategyAuto is StrategySyncFS while that is quick, StrategyFiles for a while when it was not. Where
	// the system has no syncfs it is StrategyFiles.
	StrategyAuto Strategy = ""
	// StrategySyncFS syncs the file system that holds the data folder, with one system call.
	StrategySyncFS Strategy = "syncfs"
	// StrategyFiles syncs each file and folder that changed, in parallel.
	StrategyFiles Strategy = "files"
)

// flusher brings what was written before the call to the disk.
type flusher interface {
	flush() error
	close() error
}

var errClosed = errors.New("the embedded broker is closed")

// syncer lets callers share syncs. A sync serves those who asked before it started; those who ask while it
// runs are served together by the next.
type syncer struct {
	flusher flusher
	watch   func() func() // may be nil
	marker  *marker       // may be nil
	observe func(time.Duration, int)
	fail    func(error)

	mu     sync.Mutex
	next   *batch // who waits for the sync that has not started
	failed error  // sticky
	closed bool
	wake   chan struct{}
	ended  chan struct{}
}

type batch struct {
	waiters int
	done    chan struct{}
	err     error // set before done is closed
}

// newSyncer starts one. Only the process with the broker gives it a marker.
func newSyncer(dir string, o Options, m *marker, fail func(error)) (*syncer, error) {
	f, err := newFlusher(dir, o.Strategy, o.sys)
	if err != nil {
		return nil, err
	}
	s := &syncer{
		flusher: f, watch: o.WatchSync, marker: m, observe: o.ObserveSync, fail: fail,
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go s.run()
	return s, nil
}

// wait returns when a sync that started after the call has ended.
func (s *syncer) wait(ctx context.Context) error {
	s.mu.Lock()
	switch {
	case s.failed != nil:
		s.mu.Unlock()
		return s.failed
	case s.closed:
		s.mu.Unlock()
		return errClosed
	}
	b := s.next
	if b == nil {
		b = &batch{done: make(chan struct{})}
		s.next = b
		s.wake <- struct{}{} // never blocks: one token for each next
	}
	b.waiters++
	s.mu.Unlock()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *syncer) run() {
	defer close(s.ended)
	for range s.wake {
		s.mu.Lock()
		b := s.next
		s.next = nil
		err := s.failed
		s.mu.Unlock()
		// From here on the batch takes no more waiters, and all it has registered before the flush.
		synced, marked := s.begin()
		start := time.Now()
		if err == nil {
			err = s.flusher.flush()
		}
		took := time.Since(start)
		if err == nil {
			synced()
		}
		if err != nil {
			s.mu.Lock()
			s.failed = err
			s.mu.Unlock()
			s.fail(err)
		}
		s.mu.Lock()
		waiters := b.waiters
		s.mu.Unlock()
		if s.observe != nil {
			s.observe(took, waiters)
		}
		b.err = err
		close(b.done)
		if err == nil {
			marked()
		}
	}
}

// begin tells those who follow the syncs of the next, and returns what to call when it succeeded: before the
// waiters are told, and after.
func (s *syncer) begin() (synced, marked func()) {
	synced, marked = func() {}, func() {}
	if s.watch != nil {
		synced = s.watch()
	}
	if s.marker != nil {
		marked = s.marker.begin()
	}
	return synced, marked
}

// close ends the goroutine after the sync that runs and the one that is asked for.
func (s *syncer) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.wake)
	s.mu.Unlock()
	<-s.ended
	return s.flusher.close()
}
