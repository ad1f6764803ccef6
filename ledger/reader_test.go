package ledger_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
)

// check that records hold the values from..to-1, at those offsets.
func check(t testing.TB, got []*kgo.Record, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("got %d records, want %d", len(got), to-from)
	}
	for i, r := range got {
		if r.Offset != int64(from+i) || string(r.Value) != strconv.Itoa(from+i) {
			t.Fatalf("record %d is %q at offset %d", from+i, r.Value, r.Offset)
		}
	}
}

func TestReaderReadsOn(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 0, 0, 50)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 20)
	check(t, poll(t, r, ledger.Events, 0, 30), 20, 50)
	if got := r.Next(ledger.Events, 0); got != 50 {
		t.Errorf("next is %d", got)
	}
	appendN(t, l, ledger.Events, 0, 50, 60)
	check(t, poll(t, r, ledger.Events, 0, 10), 50, 60)
}

func TestReaderAtTheEnd(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 0, 0, 3)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 3)
	r.Add(ledger.Lanes, 1, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b, err := r.Poll(ctx, 0); len(b) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("poll with an ended context: %v, %v", b, err)
	}
	appendN(t, l, ledger.Events, 0, 3, 4)
	check(t, poll(t, r, ledger.Events, 0, 1), 3, 4)
}

// The second partition is added while Poll waits for the first, which is empty.
func TestReaderAddWhilePolling(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 1, 0, 5)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 0)
	polling := make(chan []*kgo.Record)
	go func() { polling <- poll(t, r, ledger.Events, 1, 5) }()
	r.Add(ledger.Events, 1, 0)
	check(t, <-polling, 0, 5)
}

func TestReaderRemovedPartitionNeverComesOut(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 0, 0, 2000)
	appendN(t, l, ledger.Events, 1, 0, 2000)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 0)
	r.Add(ledger.Events, 1, 0)
	// So that both are buffered when one is removed.
	if _, err := r.Poll(soon(t), 10); err != nil {
		t.Fatal(err)
	}
	r.Remove(ledger.Events, 0)
	last := r.Next(ledger.Events, 1)
	for r.Next(ledger.Events, 1) < 2000 {
		batches, err := r.Poll(soon(t), 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			if b.Partition == 0 {
				t.Fatal("a removed partition came out")
			}
			if b.Records[0].Offset != last {
				t.Fatalf("offset %d after %d", b.Records[0].Offset, last)
			}
			last += int64(len(b.Records))
		}
	}
}

func TestReaderSeeks(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 0, 0, 1000)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 500)
	if got := poll(t, r, ledger.Events, 0, 1); got[0].Offset != 500 {
		t.Errorf("begins at %d", got[0].Offset)
	}
	for _, to := range []int{10, 990, 0} {
		r.Seek(ledger.Events, 0, int64(to))
		check(t, poll(t, r, ledger.Events, 0, 1000-to), to, 1000)
	}
}

func TestReaderPausesWithoutAGap(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 0, 0, 1000)
	appendN(t, l, ledger.Events, 1, 0, 3)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 0)
	got := 0
	for got < 1000 {
		batches, err := r.Poll(soon(t), 150)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			if b.Records[0].Offset != int64(got) {
				t.Fatalf("offset %d after %d", b.Records[0].Offset, got)
			}
			got += len(b.Records)
		}
		r.Pause(ledger.Events, 0)
		if got == 150 { // the other partition still comes, and this one does not
			r.Add(ledger.Events, 1, 0)
			check(t, poll(t, r, ledger.Events, 1, 3), 0, 3)
		}
		r.Resume(ledger.Events, 0)
	}
}

func TestReaderBelowTheStart(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 0, 0, 100)
	appendN(t, l, ledger.Events, 1, 0, 10)
	if err := l.Trim(t.Context(), ledger.Events, 0, 40); err != nil {
		t.Fatal(err)
	}
	r := reader(t, l)
	r.Add(ledger.Events, 0, 39)
	_, err := pollError(t, r)
	var at *ledger.PartitionError
	if !errors.Is(err, ledger.ErrBelowStart) || !errors.As(err, &at) || at.Partition != 0 || at.Offset != 39 || !strings.Contains(err.Error(), "starts at 40") {
		t.Fatalf("error %v", err)
	}
	// The error is final for that partition, and for no other.
	r.Add(ledger.Events, 1, 0)
	check(t, poll(t, r, ledger.Events, 1, 10), 0, 10)
	r.Add(ledger.Events, 0, 40)
	check(t, poll(t, r, ledger.Events, 0, 60), 40, 100)
}

// The log is trimmed past a reader that waits at its end, and then grows.
func TestReaderTrimmedPast(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 0, 0, 10)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 0)
	check(t, poll(t, r, ledger.Events, 0, 10), 0, 10)
	r.Remove(ledger.Events, 0)
	appendN(t, l, ledger.Events, 0, 10, 20)
	if err := l.Trim(t.Context(), ledger.Events, 0, 15); err != nil {
		t.Fatal(err)
	}
	r.Add(ledger.Events, 0, 10)
	if _, err := pollError(t, r); !errors.Is(err, ledger.ErrBelowStart) {
		t.Errorf("error %v", err)
	}
}

func TestReaderBeyondTheEnd(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 0, 0, 10)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 12)
	if _, err := pollError(t, r); !errors.Is(err, ledger.ErrBeyondEnd) {
		t.Errorf("error %v", err)
	}
}

// A platform that produces in a transaction leaves a control record. It has an
// offset like any other, so nothing is missing, and it comes out marked.
func TestReaderHandsOverControlRecords(t *testing.T) {
	t.Parallel()
	l := ready(t)
	tx := brokertest.Client(t, brokertest.Start(t), kgo.TransactionalID(brokertest.Prefix(t)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 3 {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(t.Context(), &kgo.Record{Topic: l.Name(ledger.Events), Value: []byte{byte(i)}}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	got := all(t, l, ledger.Events, 0)
	if len(got) != 6 {
		t.Fatalf("%d records", len(got))
	}
	for i, r := range got {
		if r.Offset != int64(i) || r.Attrs.IsControl() != (i%2 == 1) {
			t.Errorf("offset %d, control %v", r.Offset, r.Attrs.IsControl())
		}
	}
}

// A segment in the middle is gone: the broker passes over it, the reader must not.
func TestReaderStopsAtAGap(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	opts := []kfake.Opt{kfake.DataDir(dir), kfake.Ports(port), kfake.BrokerConfigs(map[string]string{"log.segment.bytes": "1"})}
	_, o, stop := fake(t, opts...)
	l := open(t, o)
	ensure(t, l)
	for i := range 10 { // one batch, and one segment, each
		appendN(t, l, ledger.Config, 0, 10*i, 10*i+10)
	}
	appendN(t, l, ledger.Config, 1, 0, 10)
	l.Close()
	stop()
	removed := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(path, "config") && strings.HasPrefix(filepath.Base(path), "50.") {
			removed++
			err = os.Remove(path)
		}
		return err
	})
	if err != nil || removed == 0 {
		t.Fatalf("removed %d files of the segment, %v", removed, err)
	}
	_, o, _ = fake(t, opts...)
	l = open(t, o)
	r := reader(t, l)
	r.Add(ledger.Config, 0, 0)
	r.Add(ledger.Config, 1, 0)
	n, err := 0, error(nil)
	var zero []int64
	for err == nil {
		var batches []ledger.Batch
		batches, err = r.Poll(soon(t), 0)
		for _, b := range batches {
			n += len(b.Records)
			for _, rec := range b.Records {
				if b.Partition == 0 {
					zero = append(zero, rec.Offset)
				}
			}
		}
	}
	var at *ledger.PartitionError
	if !errors.Is(err, ledger.ErrGap) || !errors.As(err, &at) || at.Partition != 0 || at.Offset != 50 {
		t.Fatalf("after %d records: %v", n, err)
	}
	if len(zero) != 50 || zero[49] != 49 || !slices.IsSorted(zero) {
		t.Errorf("read %d records before the gap: %v", len(zero), zero)
	}
	if _, err := l.ReadAt(t.Context(), ledger.Config, 0, 55); !errors.Is(err, ledger.ErrGap) {
		t.Errorf("reading in the gap: %v", err)
	}
	r.Add(ledger.Config, 0, 60) // an operator's decision, not the reader's
	got := poll(t, r, ledger.Config, 0, 40)
	if got[0].Offset != 60 {
		t.Errorf("after the gap it goes on at %d", got[0].Offset)
	}
}

func TestReaderGoesOnAfterARestartOfTheBroker(t *testing.T) {
	t.Parallel()
	opts := []kfake.Opt{kfake.DataDir(t.TempDir()), kfake.Ports(freePort(t))}
	_, o, stop := fake(t, opts...)
	l := open(t, o)
	ensure(t, l)
	appendN(t, l, ledger.Events, 0, 0, 20)
	r := reader(t, l)
	r.Add(ledger.Events, 0, 0)
	check(t, poll(t, r, ledger.Events, 0, 20), 0, 20)
	polling := make(chan []*kgo.Record)
	go func() { polling <- poll(t, r, ledger.Events, 0, 5) }()
	stop()
	fake(t, opts...)
	appendN(t, l, ledger.Events, 0, 20, 25)
	check(t, <-polling, 20, 25)
	if rec, err := l.ReadAt(t.Context(), ledger.Events, 0, 3); err != nil || string(rec.Value) != "3" {
		t.Errorf("reading one record after the restart: %v", err)
	}
}
