package partition

import (
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Survey is what `lanes` says, folded by the code of a claimant that never
// claims: for whoever examines a log that no process works on.
type Survey struct{ m *Machine }

type noView struct{}

func (noView) Webhook(ids.ID) Webhook { return Webhook{} }

// NewSurvey begins at the start of a partition's `lanes`; all records up to end
// are to be fed.
func NewSurvey(partition int32, start, end int64) *Survey {
	s := &Survey{New(Defaults(), partition, "survey", noView{}, func() float64 { return 0 })}
	now := Time{Mono: time.Hour} // without a heartbeat nothing is claimed
	s.m.Assigned(now, 1)
	s.m.out.Reset()
	s.m.Opened(now, LogLanes, start, end)
	return s
}

// Lanes feeds records.
func (s *Survey) Lanes(records []LaneRead) { s.m.Lanes(Time{Mono: time.Hour}, records) }

// Checkpoint is the newest valid one, nil for none.
func (s *Survey) Checkpoint() *facts.Checkpoint { return s.m.t.checkpoint }

// Epoch is that of the valid owner.
func (s *Survey) Epoch() uint64 { return s.m.t.epoch }

// Waits reports whether a delivery has a live record, and the greatest offset of
// `deliveries` that was applied to it.
func (s *Survey) Waits(delivery ids.ID) (upto uint64, ok bool) {
	id := s.m.t.ix.find(&delivery)
	if id == 0 {
		return 0, false
	}
	return s.m.t.ix.at(id).upto, true
}

// Highest is above every offset of `deliveries` that a live record came from.
func (s *Survey) Highest() uint64 { return s.m.t.highest }

// Waiting is the number of deliveries that have a live record.
func (s *Survey) Waiting() int { return s.m.t.waiting }

// Takeover makes the owner record by which an operator's command takes the place
// of the owner that a survey found.
func (s *Survey) Takeover(key ids.ID, who string, wallMs int64) *facts.LaneRecord {
	return &facts.LaneRecord{Key: key[:], AtMs: wallMs, Record: &facts.LaneRecord_Owner{
		Owner: &facts.Owner{Node: who, ReplacedEpoch: s.m.t.epoch},
	}}
}

// NewCheckpoint makes a checkpoint of an epoch. Unfinished are offsets below
// position, in order.
func NewCheckpoint(partition int32, epoch uint64, wallMs int64, c *facts.Checkpoint, unfinished []uint64) *facts.LaneRecord {
	c.Low = c.GetPosition()
	c.Unfinished = nil
	for i, o := range unfinished {
		if i == 0 {
			c.Low = o
		}
		last := c.GetLow()
		if i > 0 {
			last = unfinished[i-1]
		}
		c.Unfinished = append(c.Unfinished, o-last)
	}
	key := newID(partition, epoch, 1)
	return &facts.LaneRecord{Key: key[:], Epoch: epoch, AtMs: wallMs, Record: &facts.LaneRecord_Checkpoint{Checkpoint: c}}
}

// Unfinished lists the offsets of `deliveries` that a checkpoint says are not settled.
func Unfinished(c *facts.Checkpoint) []uint64 {
	list := make([]uint64, 0, len(c.GetUnfinished()))
	at := c.GetLow()
	for _, d := range c.GetUnfinished() {
		at += d
		list = append(list, at)
	}
	return list
}
