package repair

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/consumers/router"
	"hookledger/ledger"
)

// unbelieved is how much of the end of `event-ids`, by its records' times, is not
// believed to have been synced after what it speaks of.
const unbelieved = time.Minute

// commit is a partition of `events` whose commit is missing, or lies where the
// log is no more.
func (l *look) commit(ctx context.Context, p int32) ([]*Finding, error) {
	where := at{ledger.Events, p}
	start, end := l.starts[where], l.ends[where]
	commit, ok := l.commits[p]
	f := &Finding{Where: where.String()}
	switch {
	case !ok && start == end: // the router sets the first
		return nil, nil
	case !ok:
		f.What = fmt.Sprintf("it holds offsets %d to %d, and the router has no commit", start, end-1)
	case commit < start:
		f.What = fmt.Sprintf("it starts at %d, above the router's commit %d", start, commit)
	case commit > end+mostLost:
		f.What = fmt.Sprintf("it ends at %d, and the router's commit is %d, which can't be", end, commit)
	default:
		return nil, nil
	}
	passed, err := l.passed(ctx, p)
	if err != nil {
		return nil, err
	}
	if ok && commit < start {
		passed = max(passed, commit)
	}
	next := min(max(start, passed), end)
	f.Plan = fmt.Sprintf("the commit is set to %d, below which `event-ids` shows all to be routed; what was routed beyond is dropped when it is routed again", next)
	var again []ledger.Record
	if passed < start {
		if again, err = l.unrouted(ctx, p, max(passed, 0), start); err != nil {
			return nil, err
		}
		f.Facts = append(f.Facts, fmt.Sprintf("%d events from %d to %d were trimmed, and nothing shows that they were routed; the history has %d of them without a delivery", start-passed, passed, start-1, len(again)))
		if len(again) > 0 {
			f.Plan += fmt.Sprintf("; %d events are published again from the history", len(again))
		}
	}
	f.mend = func(ctx context.Context) error {
		if len(again) > 0 {
			if _, err := l.Log.Append(ctx, again...); err != nil {
				return err
			}
			if err := l.Log.Synced(ctx); err != nil {
				return err
			}
		}
		return l.Log.CommitAs(ctx, router.Group, map[ledger.Topic]map[int32]int64{ledger.Events: {p: next}})
	}
	return []*Finding{f}, nil
}

// passed is the offset below which `event-ids` shows that all was routed.
func (l *look) passed(ctx context.Context, p int32) (int64, error) {
	type entry struct {
		at   time.Time
		next int64
	}
	var all []entry
	where := at{ledger.EventIDs, p}
	err := l.scan(ctx, where, l.starts[where], func(r *kgo.Record) {
		f, err := ledger.DecodePassedEvents(r.Value)
		if err != nil {
			return
		}
		next := int64(0)
		for _, delta := range f.GetOffsets() {
			next += int64(delta)
		}
		all = append(all, entry{r.Timestamp, next + 1})
	})
	if err != nil || len(all) == 0 {
		return 0, err
	}
	last, next := all[len(all)-1].at, int64(0)
	for _, e := range all {
		if last.Sub(e.at) >= unbelieved {
			next = max(next, e.next)
		}
	}
	return next, nil
}

// unrouted are the accepted events of the history, from from to below to, of
// which it has no delivery.
func (l *look) unrouted(ctx context.Context, p int32, from, to int64) ([]ledger.Record, error) {
	if _, ok := l.place(at{ledger.Events, p}); !ok {
		return nil, nil
	}
	rows, err := l.History.EventRecords(ctx, p, from, to)
	if err != nil {
		return nil, err
	}
	routed, err := l.History.Routed(ctx, p, from, to)
	if err != nil {
		return nil, err
	}
	var again []ledger.Record
	for i := range rows {
		if !routed[rows[i].Offset] {
			again = append(again, eventRecord(p, &rows[i]))
		}
	}
	return again, nil
}
