package ledger_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
)

func TestReadAt(t *testing.T) {
	t.Parallel()
	l := ready(t)
	appendN(t, l, ledger.Events, 1, 0, 100)
	for _, at := range []int64{50, 51, 0, 99, 50} {
		r, err := l.ReadAt(t.Context(), ledger.Events, 1, at)
		if err != nil || r.Offset != at || string(r.Value) != strconv.FormatInt(at, 10) || r.Timestamp.IsZero() {
			t.Errorf("offset %d: %v, %v", at, r, err)
		}
	}
	if _, err := l.ReadAt(t.Context(), ledger.Events, 1, 100); !errors.Is(err, ledger.ErrBeyondEnd) {
		t.Errorf("at the end: %v", err)
	}
	if _, err := l.ReadAt(t.Context(), ledger.Events, 1, 5000); !errors.Is(err, ledger.ErrBeyondEnd) {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := l.ReadAt(t.Context(), ledger.Events, 0, 0); !errors.Is(err, ledger.ErrBeyondEnd) {
		t.Errorf("in an empty partition: %v", err)
	}
	if _, err := l.ReadAt(t.Context(), ledger.Events, 9, 0); err == nil {
		t.Error("a partition that is not there was read")
	}
}

func TestReadAtTrimmed(t *testing.T) {
	t.Parallel()
	l := ready(t)
	for i := range 10 {
		appendN(t, l, ledger.Events, 0, 10*i, 10*i+10)
	}
	if err := l.Trim(t.Context(), ledger.Events, 0, 45); err != nil {
		t.Fatal(err)
	}
	var at *ledger.PartitionError
	if _, err := l.ReadAt(t.Context(), ledger.Events, 0, 44); !errors.Is(err, ledger.ErrBelowStart) || !errors.As(err, &at) || at.Offset != 44 {
		t.Errorf("below the start: %v", err)
	}
	if r, err := l.ReadAt(t.Context(), ledger.Events, 0, 45); err != nil || string(r.Value) != "45" {
		t.Errorf("at the start: %v", err)
	}
}

// Larger than what one fetch asks for, and than all that is kept.
func TestReadAtBigRecords(t *testing.T) {
	l := ready(t)
	var want [][]byte
	for i := range 13 {
		want = append(want, bytes.Repeat([]byte{byte('a' + i)}, 3<<20))
		if _, err := l.Append(t.Context(), ledger.Record{
			Topic: ledger.Events, Key: []byte("k"), Value: want[i], Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{byte(i)}}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for i := range want {
			r, err := l.ReadAt(t.Context(), ledger.Events, 0, int64(i))
			if err != nil || !bytes.Equal(r.Value, want[i]) || r.Headers[0].Value[0] != byte(i) || string(r.Key) != "k" {
				t.Fatalf("offset %d: %d bytes, %v", i, len(r.Value), err)
			}
		}
	}
	clear(want)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 160<<20 { // 32 MiB are kept; the broker's own memory is in here too
		t.Errorf("%d MiB are in use", m.HeapAlloc>>20)
	}
}

func TestReadAtFromMany(t *testing.T) {
	t.Parallel()
	l := ready(t)
	for i := range 20 {
		appendN(t, l, ledger.Events, 0, 100*i, 100*i+100)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				at := rand.Int64N(2000)
				r, err := l.ReadAt(t.Context(), ledger.Events, 0, at)
				if err != nil || string(r.Value) != strconv.FormatInt(at, 10) {
					t.Errorf("offset %d: %v", at, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkReadAt(b *testing.B) {
	l := ready(b)
	records := make([]ledger.Record, 1000)
	for i := range records {
		records[i] = ledger.Record{Topic: ledger.Events, Value: make([]byte, 1000)}
	}
	for range 50 {
		if _, err := l.Append(b.Context(), records...); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("scattered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := l.ReadAt(b.Context(), ledger.Events, 0, rand.Int64N(50_000)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("in-order", func(b *testing.B) {
		b.ReportAllocs()
		at := int64(0)
		for b.Loop() {
			if _, err := l.ReadAt(b.Context(), ledger.Events, 0, at%50_000); err != nil {
				b.Fatal(err)
			}
			at++
		}
	})
}
