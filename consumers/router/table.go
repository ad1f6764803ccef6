package router

import (
	"encoding/binary"

	"hookledger/ledger/ids"
)

// slotSize is a hash, and an offset plus one; zero is an empty slot.
const slotSize = ids.Size + 8

// minSlots of a table; its size doubles as it fills.
const minSlots = 256

// table is an open-addressing table of passed ids. Its slots are raw bytes, so
// that a file is the same as the memory that it was written from.
type table struct {
	slots []byte
	count int
	file  *spilled // nil in memory
}

func newTable() *table { return &table{slots: make([]byte, minSlots*slotSize)} }

func (t *table) size() int { return len(t.slots) / slotSize }

// full tables grow, at a load of three quarters.
func (t *table) full() bool { return 4*(t.count+1) > 3*t.size() }

// find looks for entries of a hash: the greatest offset below an offset (-1 for
// none), and whether that offset itself is there.
func (t *table) find(hash ids.ID, offset int64) (before int64, self bool) {
	before = -1
	low, high := binary.LittleEndian.Uint64(hash[:]), binary.LittleEndian.Uint64(hash[8:])
	mask := uint64(t.size() - 1)
	for i := low & mask; ; i = (i + 1) & mask {
		slot := t.slots[i*slotSize:][:slotSize:slotSize]
		at := binary.LittleEndian.Uint64(slot[ids.Size:])
		if at == 0 {
			return before, self
		}
		if binary.LittleEndian.Uint64(slot) != low || binary.LittleEndian.Uint64(slot[8:]) != high {
			continue
		}
		switch is := int64(at - 1); {
		case is == offset:
			self = true
		case is < offset:
			before = max(before, is)
		}
	}
}

// insert adds an entry; the table must not be full.
func (t *table) insert(hash ids.ID, offset int64) {
	mask := uint64(t.size() - 1)
	i := binary.LittleEndian.Uint64(hash[:]) & mask
	for binary.LittleEndian.Uint64(t.slots[i*slotSize+ids.Size:]) != 0 {
		i = (i + 1) & mask
	}
	slot := t.slots[i*slotSize:][:slotSize]
	copy(slot, hash[:])
	binary.LittleEndian.PutUint64(slot[ids.Size:], uint64(offset+1))
	t.count++
}

// grown is the table with twice the slots.
func (t *table) grown() *table {
	to := &table{slots: make([]byte, 2*len(t.slots))}
	for i := 0; i < len(t.slots); i += slotSize {
		slot := t.slots[i:][:slotSize]
		if at := binary.LittleEndian.Uint64(slot[ids.Size:]); at != 0 {
			to.insert(ids.ID(slot[:ids.Size]), int64(at-1))
		}
	}
	return to
}
