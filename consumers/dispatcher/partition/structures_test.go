package partition

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// TestIndexAndHeap compares the index and a heap over it with a map, on random
// additions and removals whose ids collide often.
func TestIndexAndHeap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	ix, h := newIndex(), heap{byDue: true}
	want := make(map[ids.ID]uint64)
	for n := range 50000 {
		var d ids.ID
		binary.BigEndian.PutUint16(d[14:], uint16(rnd.IntN(3000)))
		id := ix.find(&d)
		if _, ok := want[d]; ok != (id != 0) {
			t.Fatalf("step %d: found %v, want %v", n, id != 0, ok)
		}
		if id == 0 {
			id, e := ix.add(d)
			e.order, e.due = uint64(n), 0
			h.push(ix, id)
			want[d] = e.order
		} else {
			if e := ix.at(id); e.order != want[d] {
				t.Fatalf("step %d: it has order %d, want %d", n, e.order, want[d])
			}
			h.remove(ix, id)
			ix.remove(id)
			delete(want, d)
		}
		if len(want) > 0 && n%100 == 0 {
			if got, least := ix.at(h.ids[0]).order, slices.Min(slices.Collect(maps.Values(want))); got != least || ix.n != len(want) {
				t.Fatalf("step %d: the first is %d of %d, want %d of %d", n, got, ix.n, least, len(want))
			}
		}
	}
}

// TestWindow compares the window with a set, through checkpoints too.
func TestWindow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	w, want := newWindow(&facts.Checkpoint{}), make(map[uint64]bool)
	var at uint64
	for n := range 100000 {
		switch rnd.IntN(5) {
		case 0, 1:
			w.open(at)
			want[at] = true
			at++
		case 2:
			w.pass(at)
			w.settle(at)
			at++
		case 3:
			o := at - min(at, uint64(rnd.IntN(2000)))
			if w.unsettled(o) != want[o] {
				t.Fatalf("step %d: offset %d is unsettled %v", n, o, w.unsettled(o))
			}
			w.settle(o)
			delete(want, o)
		case 4:
			for o := range want {
				w.settle(o)
				delete(want, o)
				break
			}
		}
		if n%1000 == 0 {
			low := at
			for o := range want {
				low = min(low, o)
			}
			c := &facts.Checkpoint{Position: w.position, Low: w.low(), Unfinished: w.unfinished()}
			if c.GetLow() != low || c.GetPosition() != at || len(c.GetUnfinished()) != len(want) {
				t.Fatalf("step %d: low %d of %d, position %d, %d unfinished; want %d, %d, %d", n, c.GetLow(), low, c.GetPosition(), len(c.GetUnfinished()), low, at, len(want))
			}
			for w = newWindow(c); len(want) > 500; { // the next owner goes on with it
				for o := range want {
					w.settle(o)
					delete(want, o)
					break
				}
			}
		}
	}
}

// TestLive compares the list of live records with a map, beyond where it is
// first moved together.
func TestLive(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	var l live
	l.reset(100)
	want := make(map[int64]uint32)
	for n := range 60000 {
		l.push()
		if at := l.end() - 1; rnd.IntN(3) > 0 {
			want[at] = uint32(n + 1)
			l.set(at, want[at])
		}
		for at := range want {
			if len(want) < 3000 && rnd.IntN(3) > 0 {
				break
			}
			l.kill(at)
			delete(want, at)
			if len(want) < 3000 {
				break
			}
		}
		if n%500 == 0 {
			low := l.end()
			for at, tag := range want {
				if low = min(low, at); l.tag(at) != tag {
					t.Fatalf("step %d: record %d is live for %d, want %d", n, at, l.tag(at), tag)
				}
			}
			if l.lowest() != low || l.alive != len(want) {
				t.Fatalf("step %d: %d live from %d, want %d from %d", n, l.alive, l.lowest(), len(want), low)
			}
		}
	}
}
