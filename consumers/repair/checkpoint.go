package repair

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// checkpoint is a partition whose newest checkpoint is missing, or needs what is
// not there any more, or knows less than the history of what was accepted.
func (l *look) checkpoint(ctx context.Context, p int32) ([]*Finding, error) {
	one, c := l.lanes[p], l.lanes[p].Checkpoint()
	start := func(t ledger.Topic) int64 { return l.starts[at{t, p}] }
	place, hasPlace := l.place(at{ledger.Deliveries, p})
	end := l.known(at{ledger.Deliveries, p}).end
	var why []string
	switch {
	case c == nil && l.ends[at{ledger.Lanes, p}] == 0: // serve writes the first
		return nil, nil
	case c == nil:
		why = append(why, "it has no checkpoint")
	case start(ledger.Lanes) > int64(c.GetLanesFloor()):
		why = append(why, fmt.Sprintf("it starts at %d, above %d, which the newest checkpoint needs", start(ledger.Lanes), c.GetLanesFloor()))
	}
	if c != nil && start(ledger.Attempts) > int64(c.GetAttemptsFloor()) {
		why = append(why, fmt.Sprintf("`attempts` starts at %d, above %d, which the newest checkpoint needs", start(ledger.Attempts), c.GetAttemptsFloor()))
	}
	if c != nil && start(ledger.Deliveries) > int64(c.GetLow()) {
		why = append(why, fmt.Sprintf("`deliveries` starts at %d, above %d, which is not settled", start(ledger.Deliveries), c.GetLow()))
	}
	if c != nil && hasPlace && place.Next > l.ends[at{ledger.Deliveries, p}] && place.Next > int64(c.GetPosition()) {
		why = append(why, fmt.Sprintf("`deliveries` is lost from %d on, and the history has read it to %d, where the newest checkpoint knows it to %d", l.ends[at{ledger.Deliveries, p}], place.Next, c.GetPosition()))
	}
	if len(why) == 0 {
		return nil, nil
	}
	next := &facts.Checkpoint{
		Position: uint64(end), LanesFloor: uint64(start(ledger.Lanes)), Sources: sources(c, place, one.marks),
		AttemptsFloor: max(c.GetAttemptsFloor(), uint64(start(ledger.Attempts))), EndsFloor: max(c.GetEndsFloor(), uint64(start(ledger.Attempts))),
	}
	settled := func(int64) bool { return false }
	doubtful := one.doubtful(start(ledger.Lanes))
	if doubtful { // every fact that there is may say what became of a request
		next.AttemptsFloor, next.EndsFloor = uint64(start(ledger.Attempts)), uint64(start(ledger.Attempts))
		var err error
		if settled, err = l.trimmedFirst(ctx, p, one); err != nil {
			return nil, err
		}
	}
	was := make(map[int64]bool)
	for _, o := range partition.Unfinished(c) {
		was[int64(o)] = true
	}
	var unfinished []uint64
	for _, o := range one.requests {
		if !settled(o) && (doubtful || o >= int64(c.GetPosition()) || was[o]) {
			unfinished = append(unfinished, uint64(o))
		}
	}
	slices.Sort(unfinished)
	return []*Finding{{
		Where: at{ledger.Lanes, p}.String(), What: strings.Join(why, "; "),
		Plan: fmt.Sprintf("a new checkpoint at %d of `deliveries`, with %d requests that may not be settled: each is looked up in what `lanes` and `attempts` have, and sent if it is in neither", end, len(unfinished)),
		mend: func(ctx context.Context) error { return l.write(ctx, p, next, unfinished) },
	}}, nil
}

// sources are the greatest marks that anybody knows.
func sources(c *facts.Checkpoint, place history.Place, seen map[int32]history.Mark) []*facts.SourceMark {
	greatest := make(map[int32]history.Mark)
	take := func(from int32, m history.Mark) {
		if was, ok := greatest[from]; !ok || was.Less(m) {
			greatest[from] = m
		}
	}
	for _, m := range c.GetSources() {
		take(m.GetPartition(), history.Mark{Offset: m.GetOffset(), Webhook: ids.ID(m.GetWebhookId())})
	}
	for from, m := range place.Sources {
		take(from, m)
	}
	for from, m := range seen {
		take(from, m)
	}
	list := make([]*facts.SourceMark, 0, len(greatest))
	for from, m := range greatest {
		list = append(list, &facts.SourceMark{Partition: from, Offset: m.Offset, WebhookId: m.Webhook[:]})
	}
	slices.SortFunc(list, func(a, b *facts.SourceMark) int { return int(a.GetPartition() - b.GetPartition()) })
	return list
}

// trimmedFirst finds the requests that repeat one which was trimmed: a fact or a
// waiting record of an earlier round tells of it.
func (l *look) trimmedFirst(ctx context.Context, p int32, one *lanes) (func(int64) bool, error) {
	again := make(map[int64]bool)
	for delivery, o := range one.first {
		if upto, ok := one.Waits(delivery); ok && int64(upto) < o {
			again[o] = true
		}
	}
	where := at{ledger.Attempts, p}
	err := l.scan(ctx, where, l.starts[where], func(r *kgo.Record) {
		f, err := ledger.DecodeAttempt(r.Value)
		if err != nil {
			return
		}
		if o, ok := one.first[ids.ID(f.GetSubject().GetDeliveryId())]; ok && int64(f.GetRound()) < o {
			again[o] = true
		}
	})
	return func(o int64) bool { return again[o] }, err
}

// write takes the partition, as an owner would, and writes the checkpoint.
func (l *look) write(ctx context.Context, p int32, c *facts.Checkpoint, unfinished []uint64) error {
	// The log may have grown since it was examined: by what repair itself appended.
	where := at{ledger.Lanes, p}
	ends, err := l.Log.Ends(ctx, ledger.Lanes)
	if err != nil {
		return err
	}
	l.ends[where] = ends[p]
	fresh := &lanes{Survey: partition.NewSurvey(p, l.starts[where], ends[p])}
	if err := l.scan(ctx, where, l.starts[where], func(r *kgo.Record) {
		read := partition.LaneRead{Offset: r.Offset}
		if rec, err := ledger.DecodeLane(r.Value); err == nil {
			read.Record = rec
		}
		fresh.Lanes([]partition.LaneRead{read})
	}); err != nil {
		return err
	}
	key, err := ids.Random(rand.Reader)
	if err != nil {
		return err
	}
	now := l.Now().UnixMilli()
	owner, err := l.Log.Append(ctx, ledger.LaneRecord(p, fresh.Takeover(key, "repair by "+l.Actor, now)))
	if err != nil {
		return err
	}
	record := partition.NewCheckpoint(p, uint64(owner[0].Offset), now, c, unfinished)
	if _, err := l.Log.Append(ctx, ledger.LaneRecord(p, record)); err != nil {
		return err
	}
	return l.Log.Synced(ctx)
}
