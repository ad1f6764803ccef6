package broker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/datadir"
)

// fakeFlusher takes a second for each sync.
type fakeFlusher struct {
	n   int
	err error
}

func (f *fakeFlusher) flush() error {
	time.Sleep(time.Second)
	f.n++
	return f.err
}
func (*fakeFlusher) close() error { return nil }

func newTestSyncer(f flusher, observe func(time.Duration, int), fail func(error)) *syncer {
	s := &syncer{flusher: f, observe: observe, fail: fail, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go s.run()
	return s
}

// Those who ask while a sync runs share the next one, and none is served by a sync that began before it asked.
func TestSyncIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		var served []int
		s := newTestSyncer(f, func(took time.Duration, n int) {
			if took != time.Second {
				t.Errorf("took %v", took)
			}
			served = append(served, n)
		}, nil)
		began := time.Now()
		var wg sync.WaitGroup
		ask := func(want time.Duration) {
			wg.Go(func() {
				if err := s.wait(t.Context()); err != nil {
					t.Error(err)
				}
				if got := time.Since(began); got != want {
					t.Errorf("waited until %v, want %v", got, want)
				}
			})
		}
		ask(time.Second)
		synctest.Wait()
		time.Sleep(time.Millisecond)
		for range 100 {
			ask(2 * time.Second)
		}
		time.Sleep(time.Second) // in the second sync
		for range 10 {
			ask(3 * time.Second)
		}
		// One who gives up does not hold the others.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wg.Wait()
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if f.n != 3 || len(served) != 3 || served[0] != 1 || served[1] != 100 || served[2] != 11 {
			t.Errorf("%d syncs for %v waiters, want 3 for 1, 100 and 11", f.n, served)
		}
		if err := s.wait(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

// After a sync failed, all fail, also those that would succeed: the kernel has forgotten what it could not write.
func TestSyncErrorIsSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{err: errors.New("input/output error")}
		var told []error
		s := newTestSyncer(f, nil, func(err error) { told = append(told, err) })
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := s.wait(t.Context()); !errors.Is(err, f.err) {
					t.Errorf("got %v, want %v", err, f.err)
				}
			})
		}
		wg.Wait()
		old := f.err
		f.err = nil
		if err := s.wait(t.Context()); !errors.Is(err, old) {
			t.Errorf("got %v, want %v again", err, old)
		}
		if len(told) == 0 {
			t.Error("nobody was told")
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
}

// slowFlusher takes a while, and counts.
type slowFlusher struct {
	takes time.Duration
	n     int
}

func (f *slowFlusher) flush() error {
	time.Sleep(f.takes)
	f.n++
	return nil
}
func (*slowFlusher) close() error { return nil }

// While syncfs is slow, single files are synced, and it is tried beside them after a second, two, up to half a
// minute. Only the sync that found it slow had to wait for it.
func TestSlowSyncFSIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, files := &slowFlusher{takes: time.Millisecond}, &slowFlusher{takes: time.Millisecond}
		a := &adaptiveFlusher{fs: fs, files: files}
		during := func(d time.Duration) (byFS, byFiles, waited int) {
			fs.n, files.n = 0, 0
			for end := time.Now().Add(d); time.Now().Before(end); {
				start := time.Now()
				if err := a.flush(); err != nil {
					t.Fatal(err)
				}
				if time.Since(start) > time.Millisecond {
					waited++
				}
			}
			return fs.n, files.n, waited
		}
		if n, m, _ := during(time.Second); n != 1000 || m != 0 {
			t.Errorf("quick: %d by syncfs, %d by files", n, m)
		}
		fs.takes = 200 * time.Millisecond
		// At about 0, 1, 3, 7, 15, 31, 61 and 91 s.
		if n, m, waited := during(2 * time.Minute); n != 8 || m < 115_000 || waited != 1 {
			t.Errorf("slow for two minutes: %d by syncfs, %d by files, %d waited", n, m, waited)
		}
		fs.takes = time.Millisecond
		during(maxPause)
		if n, m, _ := during(time.Second); n != 1000 || m != 0 {
			t.Errorf("quick again: %d by syncfs, %d by files", n, m)
		}
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
}

// A syncfs that nobody waited for fails the next sync, or the stop.
func TestFailedTryOfSyncFSIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &fakeFlusher{} // slow
		a := &adaptiveFlusher{fs: fs, files: &slowFlusher{}}
		if err := a.flush(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(minPause)
		fs.err = errors.New("input/output error")
		if err := a.flush(); err != nil { // starts the try
			t.Fatal(err)
		}
		time.Sleep(minPause)
		synctest.Wait()
		if err := a.flush(); !errors.Is(err, fs.err) {
			t.Errorf("the next sync: %v, want %v", err, fs.err)
		}
		a.next = time.Time{}
		if err := a.flush(); err != nil {
			t.Fatal(err)
		}
		if err := a.close(); !errors.Is(err, fs.err) {
			t.Errorf("the stop: %v, want %v", err, fs.err)
		}
	})
}

func openDir(t testing.TB) *datadir.Dir {
	t.Helper()
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

// A disk that fails ends the trust in the broker: Run and Sync say it, and the stop is not clean.
func TestFailedSyncIsLoud(t *testing.T) {
	t.Parallel()
	for _, strategy := range []Strategy{StrategySyncFS, StrategyFiles} {
		t.Run(string(strategy), func(t *testing.T) {
			t.Parallel()
			broken := errors.New("input/output error")
			var fails atomic.Bool
			call := func(int) error {
				if fails.Load() {
					return broken
				}
				return nil
			}
			dir := openDir(t)
			b, err := Start(t.Context(), Options{Dir: dir, Strategy: strategy, sys: &syscalls{syncFS: call, dataSync: call, sync: call}})
			if err != nil {
				t.Fatal(err)
			}
			produce(t, b, "a")
			if err := b.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			fails.Store(true)
			produce(t, b, "b")
			if err := b.Sync(t.Context()); !errors.Is(err, broken) {
				t.Errorf("Sync: %v", err)
			}
			fails.Store(false)
			if err := b.Sync(t.Context()); !errors.Is(err, broken) {
				t.Errorf("Sync, once more: %v", err)
			}
			if err := b.Run(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), dir.Broker()) {
				t.Errorf("Run: %v", err)
			}
			if err := b.Close(); !errors.Is(err, broken) {
				t.Errorf("Close: %v", err)
			}
			b, err = Start(t.Context(), Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if !b.Unclean() {
				t.Error("counts as a clean stop")
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func produce(t testing.TB, b *Broker, topic string) {
	t.Helper()
	cl, err := kgo.NewClient(b.ClientOpts()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// kfake gives out a producer id, and acknowledges a commit, that it could not write, and says so in its log
// only.
func TestFailedWriteIsLoud(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	b, err := Start(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// A folder in the place of the file: opening it for appending fails.
	path := filepath.Join(dir.Broker(), "pids.log")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	produce(t, b, "a")
	if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "pids.log") {
		t.Errorf("Run: %v, want an error that names pids.log", err)
	}
	if err := b.Sync(t.Context()); err == nil {
		t.Error("Sync succeeded")
	}
	if err := b.Close(); err == nil {
		t.Error("Close succeeded")
	}
}
