package partition

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// FuzzCheckpoint: a checkpoint that the ledger's decoder lets pass can be gone on from, and says the same when it is
// written again.
func FuzzCheckpoint(f *testing.F) {
	key := make([]byte, ids.Size)
	for _, c := range []*facts.Checkpoint{
		{},
		{Position: 100, Low: 3, Unfinished: []uint64{0, 1, 60}, Sources: []*facts.SourceMark{{Partition: 1, Offset: 9, WebhookId: key}}},
		{Position: 5, Low: 9},
		{Position: 9, Low: 5, Unfinished: []uint64{1 << 63, 1 << 63}},
		{Position: 1 << 63, Unfinished: []uint64{1 << 62}},
		{Sources: []*facts.SourceMark{{WebhookId: []byte{1}}}},
	} {
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var read facts.Checkpoint
		if proto.Unmarshal(b, &read) != nil {
			return
		}
		record := ledger.LaneRecord(0, &facts.LaneRecord{Key: key, Record: &facts.LaneRecord_Checkpoint{Checkpoint: &read}})
		lane, err := ledger.DecodeLane(record.Value)
		if err != nil {
			if !errors.Is(err, ledger.ErrUndecodable) {
				t.Fatal(err)
			}
			return
		}
		c := lane.GetCheckpoint()
		if c.GetPosition()-c.GetLow() > 1<<24 { // allowed, but larger than a fuzzer needs
			return
		}
		w, s := newWindow(c), newSources(c)
		again := &facts.Checkpoint{Position: w.position, Low: w.low(), Unfinished: w.unfinished(), Sources: s.marks()}
		if w.position != c.GetPosition() || again.GetLow() < c.GetLow() {
			t.Fatalf("%v is written again as %v", c, again)
		}
		at := c.GetLow()
		for _, step := range c.GetUnfinished() {
			if at += step; !w.unsettled(at) {
				t.Fatalf("%d of %v is forgotten", at, c)
			}
		}
		next := newWindow(again)
		if next.position != w.position || !slices.Equal(next.unfinished(), w.unfinished()) {
			t.Fatalf("%v and %v are not the same", w, next)
		}
	})
}
