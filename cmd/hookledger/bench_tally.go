package main

import (
	"bytes"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// benchTally knows what was published and what arrived, to the single
// delivery: two bits for each.
type benchTally struct {
	fanOut, groups int
	hanging        int // groups, the first, whose receiver hangs
	hangs          atomic.Int64
	began          time.Time   // what stamps in events count from
	measuring      atomic.Bool // whether latencies are kept
	first          func()      // called at a delivery's first arrival
	arrived        atomic.Int64
	delivery       histogram // from publish to receipt

	mu         sync.Mutex
	seen       bitset // delivery event*fanOut+member has arrived
	accepted   bitset // event was acknowledged
	events     int64  // acknowledged
	duplicates int64
	invented   int64 // requests that no published event explains
}

func newBenchTally(o *benchOptions, began time.Time) *benchTally {
	groups := o.webhooks / o.fanOut
	return &benchTally{fanOut: o.fanOut, groups: groups, hanging: (groups*o.hanging + 99) / 100, began: began}
}

// hung is the answer of a receiver that hangs.
func (t *benchTally) hung(*receivertest.Request) receivertest.Answer {
	t.hangs.Add(1)
	return receivertest.Answer{Silent: true, Then: receivertest.Hang}
}

// hopeless reports whether an event goes to receivers that hang.
func (t *benchTally) hopeless(event int) bool { return event%t.groups < t.hanging }

// received is the receiver's answer to a delivery: it parses only the number of
// the webhook (the path) and the event's number and stamp (the first members of
// data).
func (t *benchTally) received(q *receivertest.Request) receivertest.Answer {
	hook, ok := numberAfter(q.Raw()[:min(len(q.Raw()), 64)], pathMark)
	if !ok {
		return receivertest.Answer{} // the bare client
	}
	event, ok1 := numberAfter(q.Body(), eventMark)
	stamp, ok2 := numberAfter(q.Body(), stampMark)
	if !ok1 || !ok2 || int(hook)/t.fanOut != int(event)%t.groups {
		t.mu.Lock()
		t.invented++
		t.mu.Unlock()
		return receivertest.Answer{}
	}
	t.mu.Lock()
	again := t.seen.set(int(event)*t.fanOut + int(hook)%t.fanOut)
	if again {
		t.duplicates++
	}
	t.mu.Unlock()
	if again {
		return receivertest.Answer{}
	}
	t.arrived.Add(1)
	if t.measuring.Load() {
		t.delivery.add(q.Received.Sub(t.began) - time.Duration(stamp))
	}
	t.first()
	return receivertest.Answer{}
}

// acknowledged notes events from and below to.
func (t *benchTally) acknowledged(from, to int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := from; n < to; n++ {
		if !t.hopeless(n) {
			t.accepted.set(n)
			t.events++
		}
	}
}

// missing is how many deliveries of acknowledged events have not arrived.
func (t *benchTally) missing() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var n int64
	t.accepted.each(func(event int) {
		for j := range t.fanOut {
			if !t.seen.has(event*t.fanOut + j) {
				n++
			}
		}
	})
	return n
}

// Where the receiver finds its numbers; benchBody writes them.
var (
	pathMark  = []byte("POST /hook/")
	eventMark = []byte(`"data":{"n":`)
	stampMark = []byte(`,"t":`)
)

// numberAfter parses the decimal number that follows mark.
func numberAfter(b, mark []byte) (int64, bool) {
	_, after, ok := bytes.Cut(b, mark)
	if !ok {
		return 0, false
	}
	var n int64
	digits := 0
	for _, c := range after {
		if c < '0' || c > '9' || digits > 18 {
			break
		}
		n = n*10 + int64(c-'0')
		digits++
	}
	return n, digits > 0
}

// bitset is a set of small numbers.
type bitset []uint64

// set adds n and says whether it was there.
func (s *bitset) set(n int) bool {
	word, bit := n/64, uint64(1)<<(n%64)
	if word >= len(*s) {
		*s = append(*s, make([]uint64, word+1+word/2-len(*s))...)
	}
	was := (*s)[word]&bit != 0
	(*s)[word] |= bit
	return was
}

func (s bitset) has(n int) bool { return n/64 < len(s) && s[n/64]&(1<<(n%64)) != 0 }

func (s bitset) each(f func(int)) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			f(i*64 + bits.TrailingZeros64(word))
		}
	}
}
