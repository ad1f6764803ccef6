package partition

import (
	"encoding/binary"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// stage is what a work waits for.
type stage uint8

const (
	undecided     stage = iota // to be started or written to `lanes`
	loading                    // its lane record
	loaded                     // its turn, with its lane record at hand
	trying                     // the result of a try
	toLane                     // the read-back of a waiting record
	factAfterLane              // the acknowledgement of the fact that came with it
	toEnd                      // the acknowledgement of a fact that ends it; a deletion follows
	deleting                   // the read-back of the deletion
	orphaned                   // the result of a try of a lost epoch
	factThenLane               // what ruleLaneFirst forbids
	factOnly                   // an acknowledgement after which nothing follows
	toHealth                   // the read-back of a health record
	toCheckpoint               // the read-back of a checkpoint
	refusing                   // the acknowledgement of a retry_refused
	completion                 // the acknowledgement of a completed fact
	carried                    // the read-back of a carried copy
)

// purpose is what a lane record is loaded for.
type purpose uint8

const (
	toSend purpose = iota
	toCarry
	toRetry
	toFinish
	toComplete
)

// work is what a delivery carries while it is awake. It outlives the loss of
// the partition only while a try or an attempt's fact is under way.
type work struct {
	stage stage
	why   purpose
	slot  uint32 // its number in Machine.works
	entry uint32 // 0 when it belongs to none
	lane  uint32
	token uint64 // under which it is pending

	subject *facts.Subject
	content *facts.Content
	body    []byte
	record  *facts.LaneRecord // as loaded
	offset  int64             // where it was loaded from
	fact    *facts.AttemptFact

	attempt  ids.ID
	epoch    uint64
	number   uint32
	round    uint64
	upto     uint64
	repeat   bool
	reopened bool

	roundStarted, held, laneHeld int64
	began                        bool // the round's first try is this one
	counted                      bool // the takeover waits for it

	settles   []uint64 // commands that are settled with it
	made      time.Duration
	end       facts.End
	endReason facts.EndReason
	asked     *facts.DeliveryRetry
	askedAt   uint64
	opened    *facts.DeliveryRetry // by which its round was opened, until something says so
	last      bool                 // the last word of a drain
	ending    bool                 // counted in tenure.ending
	floor     int64
	low       uint64
	hold      *laneHold
	second    *facts.AttemptFact
}

// newWork takes a work and gives it a number.
func (m *Machine) newWork(s stage) *work {
	var w *work
	if n := len(m.unused); n > 0 {
		w, m.unused = m.unused[n-1], m.unused[:n-1]
	} else {
		w = &work{slot: uint32(len(m.works))}
		m.works = append(m.works, w)
	}
	w.stage = s
	return w
}

// done gives a work back. Nothing may point at it any more.
func (m *Machine) done(w *work) {
	*w = work{slot: w.slot, settles: w.settles[:0]}
	m.unused = append(m.unused, w)
}

func (m *Machine) workOf(e *entry) *work {
	if e.slot == 0 {
		return nil
	}
	return m.works[e.slot]
}

// newID makes the 16 bytes of keys and attempt ids: partition, epoch, counter.
func newID(p int32, epoch, counter uint64) ids.ID {
	var id ids.ID
	binary.BigEndian.PutUint64(id[0:], uint64(p)<<48|epoch&(1<<48-1))
	binary.BigEndian.PutUint64(id[8:], counter)
	return id
}

func counterOf(id []byte) uint64 {
	if len(id) != ids.Size {
		return 0
	}
	return binary.BigEndian.Uint64(id[8:])
}

func epochOf(id []byte) uint64 {
	if len(id) != ids.Size {
		return 0
	}
	return binary.BigEndian.Uint64(id) & (1<<48 - 1)
}

// Own reports whether the value of a record of `attempts` is a fact of the
// machine's own epoch, without decoding it: the driver feeds a nil fact then.
func (m *Machine) Own(value []byte) bool {
	// Field 1, 16 bytes: the fact's id comes first.
	if m.t.mode != owning || len(value) < 2+ids.Size || value[0] != 0x0a || value[1] != ids.Size {
		return false
	}
	id := newID(m.p, m.t.epoch, 0)
	return string(value[2:10]) == string(id[:8])
}
