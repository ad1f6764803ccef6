package repair

import (
	"context"
	"fmt"
	"strings"

	"hookledger/ledger"
)

// Examine looks at the log, the commits, the history, and what each knows of
// the others, and plans how to mend what does not fit.
func Examine(ctx context.Context, o Options) (*Report, error) {
	l, err := whole(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &Report{o: o}
	for _, topic := range ledger.AllTopics { // config first: the repair itself is said there
		for p := range o.Log.Partitions(topic) {
			found, err := l.short(ctx, at{topic, p})
			if err != nil {
				return nil, err
			}
			r.Findings = append(r.Findings, found...)
		}
	}
	r.Findings = append(r.Findings, l.foreign()...)
	// What is asked for again, before the checkpoint that makes the damage invisible.
	if !o.Moving {
		found, err := l.forgotten(ctx)
		if err != nil {
			return nil, err
		}
		r.Findings = append(r.Findings, found...)
	}
	for p := range l.lanes {
		found, err := l.checkpoint(ctx, int32(p))
		if err != nil {
			return nil, err
		}
		r.Findings = append(r.Findings, found...)
	}
	for p := range o.Log.Partitions(ledger.Events) {
		found, err := l.commit(ctx, p)
		if err != nil {
			return nil, err
		}
		r.Findings = append(r.Findings, found...)
	}
	return r, nil
}

// foreign are the places of the history that don't fit the log otherwise than by
// lying beyond its end.
func (l *look) foreign() []*Finding {
	var found []*Finding
	for _, topic := range ledger.AllTopics {
		for p := range l.Log.Partitions(topic) {
			where := at{topic, p}
			start := l.starts[where]
			if topic == ledger.Config && start > 0 {
				found = append(found, &Finding{Where: where.String(), What: fmt.Sprintf(
					"it starts at %d: the beginning of the configuration is gone, and with it the secrets of its webhooks: restore the broker's data from a backup", start)})
			}
			place, ok := l.places[where]
			switch {
			case !ok:
			case place.TopicID != l.topicIDs[topic]:
				found = append(found, &Finding{Where: where.String(), What: "the history was made from another topic of this name: make it again with `hookledger rebuild`"})
			case place.Next < start:
				place.Next = start
				found = append(found, &Finding{
					Where: where.String(),
					What:  fmt.Sprintf("it starts at %d, and the history has read it to %d: what was trimmed in between is in neither", start, l.places[where].Next),
					Plan:  fmt.Sprintf("the history goes on at %d", start),
					mend: func(ctx context.Context) error {
						return l.History.AppendPlaces(ctx, places(place))
					},
				})
			}
		}
	}
	return found
}

// mostLost is how many records of one partition may be replaced: beyond it, what
// names the end is not believed.
const mostLost = 5_000_000

// known is how far somebody knows a partition, and who.
type known struct {
	end int64
	by  []string
}

func (k *known) to(end int64, by string) {
	if end > k.end {
		k.end, k.by = end, nil
	}
	if end == k.end {
		k.by = append(k.by, by)
	}
}

// known is how far commits, checkpoints, facts and the history know a partition.
func (l *look) known(where at) known {
	k := known{end: l.ends[where]}
	if place, ok := l.place(where); ok {
		k.to(place.Next, "the history")
	}
	switch where.topic {
	case ledger.Events:
		if c, ok := l.commits[where.partition]; ok {
			k.to(c, "the router's commit")
		}
		for p, one := range l.lanes {
			for _, m := range one.Checkpoint().GetSources() {
				if m.GetPartition() == where.partition {
					k.to(m.GetOffset()+1, fmt.Sprintf("the checkpoint of lanes/%d", p))
				}
			}
			if place, ok := l.place(at{ledger.Deliveries, int32(p)}); ok {
				if m, ok := place.Sources[where.partition]; ok {
					k.to(m.Offset+1, fmt.Sprintf("the history of deliveries/%d", p))
				}
			}
		}
	case ledger.Deliveries:
		one := l.lanes[where.partition]
		k.to(int64(one.Checkpoint().GetPosition()), "the newest checkpoint")
		k.to(int64(one.Highest()), "a waiting delivery")
	case ledger.Attempts:
		c := l.lanes[where.partition].Checkpoint()
		k.to(int64(max(c.GetAttemptsFloor(), c.GetEndsFloor())), "the newest checkpoint")
	case ledger.Lanes:
		if epoch := l.lanes[where.partition].epoch; epoch > 0 {
			k.to(int64(epoch)+1, "the epoch of a fact")
		}
	case ledger.Config, ledger.EventIDs, ledger.DeadLetters:
	}
	return k
}

// short is a partition that ends before what is known of it.
func (l *look) short(ctx context.Context, where at) ([]*Finding, error) {
	k, end := l.known(where), l.ends[where]
	lost := k.end - end
	if lost <= 0 {
		return nil, nil
	}
	f := &Finding{
		Where: where.String(),
		What:  fmt.Sprintf("it ends at %d, but it is known to %d, by %s: %d records are lost, or the log was restored from before them", end, k.end, strings.Join(k.by, ", "), lost),
	}
	if lost > mostLost {
		f.What += "; so many can't be replaced: restore a newer backup"
		return []*Finding{f}, nil
	}
	fill, err := l.fill(ctx, where, k.end)
	if err != nil {
		return nil, err
	}
	f.Facts = fill.facts
	f.Plan = fmt.Sprintf("%d of them are appended again as the history has them, and %d records say that one was lost, so that no offset is used again",
		len(fill.known), lost-int64(len(fill.known)))
	f.mend = func(ctx context.Context) error { return l.extend(ctx, where, fill) }
	return []*Finding{f}, nil
}
