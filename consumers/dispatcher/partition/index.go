package partition

import (
	"encoding/binary"
	"time"

	"hookledger/ledger/ids"
)

// entryState is what an open delivery is doing.
type entryState uint8

const (
	free     entryState = iota
	fresh               // fetched, undecided; among its lane's ready ones
	timed               // waits in `lanes` for its due time
	ready               // waits in `lanes`, due; among its lane's ready ones
	inFlight            // a try is under way
	moving              // a transition is under way
	parked              // a try of a lost epoch of this process is under way
)

// The flags of an entry.
const (
	flagRepeat   uint8 = 1 << iota // the next try may repeat one that was in flight
	flagClosed                     // its round was ended by somebody else's fact
	flagReopened                   // its round was opened by a retry
)

// entry is one open delivery: 88 bytes, no pointers. Its round is named by the
// offset of `deliveries` that opened it, which is also its order in the lane.
type entry struct {
	delivery ids.ID
	order    uint64
	upto     uint64
	due      time.Duration
	offset   int64  // its live record in `lanes`, -1 if there is none
	lane     uint32 // its webhook
	at       uint32 // its place in the heap that holds it
	next     uint32 // of the same lane; of the free list
	prev     uint32
	slot     uint32 // its work, 0 while it sleeps
	attempts uint32
	tries    uint16 // in this round
	state    entryState
	flags    uint8
}

func (e *entry) is(flag uint8) bool { return e.flags&flag != 0 }

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits
)

// index holds the open deliveries: entries in chunks that never move, found by
// delivery through a table of numbers (4 bytes a place, at most three quarters full).
type index struct {
	chunks [][]entry
	unused uint32 // free list
	next   uint32 // never used before
	n      int
	table  []uint32
	shift  uint
}

func newIndex() *index {
	return &index{next: 1, table: make([]uint32, 64), shift: 64 - 6}
}

func (ix *index) at(id uint32) *entry { return &ix.chunks[id>>chunkBits][id&(chunkSize-1)] }

func (ix *index) home(d *ids.ID) uint32 {
	// Ids end in a hash; the multiplication spreads whatever they begin with.
	h := (binary.LittleEndian.Uint64(d[8:]) ^ binary.LittleEndian.Uint64(d[:])) * 0x9e3779b97f4a7c15
	return uint32(h >> ix.shift)
}

// find returns the entry of a delivery, or 0.
func (ix *index) find(d *ids.ID) uint32 {
	mask := uint32(len(ix.table) - 1)
	for i := ix.home(d); ; i = (i + 1) & mask {
		id := ix.table[i]
		if id == 0 || ix.at(id).delivery == *d {
			return id
		}
	}
}

// add makes an entry for a delivery that has none.
func (ix *index) add(d ids.ID) (uint32, *entry) {
	if ix.n+1 > len(ix.table)/4*3 {
		ix.grow()
	}
	id := ix.unused
	if id != 0 {
		ix.unused = ix.at(id).next
	} else {
		id = ix.next
		ix.next++
		if int(id>>chunkBits) == len(ix.chunks) {
			ix.chunks = append(ix.chunks, make([]entry, chunkSize))
		}
	}
	e := ix.at(id)
	*e = entry{delivery: d, offset: -1}
	ix.n++
	ix.put(id, e)
	return id, e
}

func (ix *index) put(id uint32, e *entry) {
	mask := uint32(len(ix.table) - 1)
	i := ix.home(&e.delivery)
	for ix.table[i] != 0 {
		i = (i + 1) & mask
	}
	ix.table[i] = id
}

func (ix *index) grow() {
	old := ix.table
	ix.table = make([]uint32, 2*len(old))
	ix.shift--
	for _, id := range old {
		if id != 0 {
			ix.put(id, ix.at(id))
		}
	}
}

// remove frees an entry. The holes in the table are closed at once, so that
// it needs no tombstones.
func (ix *index) remove(id uint32) {
	e := ix.at(id)
	mask := uint32(len(ix.table) - 1)
	i := ix.home(&e.delivery)
	for ix.table[i] != id {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		other := ix.table[j]
		if other == 0 {
			break
		}
		if h := ix.home(&ix.at(other).delivery); (j-h)&mask >= (j-i)&mask {
			ix.table[i] = other
			i = j
		}
	}
	ix.table[i] = 0
	*e = entry{next: ix.unused}
	ix.unused = id
	ix.n--
}
