package repair

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/consumers/router"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
)

// at is one partition of the log.
type at struct {
	topic     ledger.Topic
	partition int32
}

func (a at) String() string { return fmt.Sprintf("%s/%d", a.topic, a.partition) }

// look is everything that is known of the log, before anything is judged.
type look struct {
	Options
	starts, ends map[at]int64
	commits      map[int32]int64
	places       map[at]history.Place
	topicIDs     map[ledger.Topic]ids.ID
	lanes        []*lanes // by partition
}

// lanes is what the three logs of one partition say.
type lanes struct {
	*partition.Survey
	// epoch is the greatest that a fact names.
	epoch uint64
	// ended are the rounds that facts above the history's place have ended.
	ended map[ids.ID]bool
	// open are the deliveries of commands that the checkpoint has not settled.
	open map[ids.ID]bool
	// requests are the offsets of all commands in `deliveries`, without repeats.
	requests []int64
	marks    map[int32]history.Mark
	first    map[ids.ID]int64 // of each delivery in `deliveries`, the first offset
}

// whole looks at all of it.
func whole(ctx context.Context, o Options) (*look, error) {
	l := &look{
		Options: o, starts: make(map[at]int64), ends: make(map[at]int64), places: make(map[at]history.Place),
		topicIDs: make(map[ledger.Topic]ids.ID),
	}
	for _, topic := range ledger.AllTopics {
		starts, err := o.Log.Starts(ctx, topic)
		if err != nil {
			return nil, err
		}
		ends, err := o.Log.Ends(ctx, topic)
		if err != nil {
			return nil, err
		}
		for p := range o.Log.Partitions(topic) {
			l.starts[at{topic, p}], l.ends[at{topic, p}] = starts[p], ends[p]
		}
		if l.topicIDs[topic], err = o.Log.TopicID(ctx, topic); err != nil {
			return nil, err
		}
	}
	var err error
	if l.commits, err = o.Log.Committed(ctx, router.Group, ledger.Events); err != nil {
		return nil, err
	}
	places, err := o.History.Places(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		l.places[at{p.Topic, p.Partition}] = p
	}
	for p := range o.Log.Partitions(ledger.Lanes) {
		one, err := l.lanesOf(ctx, p)
		if err != nil {
			return nil, err
		}
		l.lanes = append(l.lanes, one)
	}
	return l, nil
}

// place is the history's place in a partition, if it is of this very topic.
func (l *look) place(a at) (history.Place, bool) {
	p, ok := l.places[a]
	return p, ok && p.TopicID == l.topicIDs[a.topic]
}

func (l *look) lanesOf(ctx context.Context, p int32) (*lanes, error) {
	where := at{ledger.Lanes, p}
	one := &lanes{
		Survey: partition.NewSurvey(p, l.starts[where], l.ends[where]),
		ended:  make(map[ids.ID]bool), open: make(map[ids.ID]bool), marks: make(map[int32]history.Mark), first: make(map[ids.ID]int64),
	}
	err := l.scan(ctx, where, l.starts[where], func(r *kgo.Record) {
		read := partition.LaneRead{Offset: r.Offset}
		if rec, err := ledger.DecodeLane(r.Value); err == nil {
			read.Record = rec
		}
		one.Lanes([]partition.LaneRead{read})
	})
	if err != nil {
		return nil, err
	}
	if err := l.attemptsOf(ctx, p, one); err != nil {
		return nil, err
	}
	return one, l.deliveriesOf(ctx, p, one)
}

// doubtful reports whether live records of `lanes` may be missing: then what the
// checkpoint calls settled may have been settled by one of them.
func (l *lanes) doubtful(start int64) bool {
	c := l.Checkpoint()
	return c == nil || start > int64(c.GetLanesFloor())
}

// attemptsOf reads the facts that the history has not: which rounds they ended.
func (l *look) attemptsOf(ctx context.Context, p int32, one *lanes) error {
	where := at{ledger.Attempts, p}
	from := l.starts[where]
	if place, ok := l.place(where); ok {
		from = max(from, place.Next)
		epoch, err := l.History.GreatestEpoch(ctx, p)
		if err != nil {
			return err
		}
		one.epoch = epoch
	}
	return l.scan(ctx, where, from, func(r *kgo.Record) {
		f, err := ledger.DecodeAttempt(r.Value)
		if err != nil {
			return
		}
		one.epoch = max(one.epoch, f.GetEpoch())
		if f.GetEnd() != 0 {
			one.ended[ids.ID(f.GetSubject().GetDeliveryId())] = true
		}
	})
}

// deliveriesOf reads what `deliveries` still has.
func (l *look) deliveriesOf(ctx context.Context, p int32, one *lanes) error {
	where := at{ledger.Deliveries, p}
	c := one.Checkpoint()
	unsettled := make(map[int64]bool)
	for _, o := range partition.Unfinished(c) {
		unsettled[int64(o)] = true
	}
	return l.scan(ctx, where, l.starts[where], func(r *kgo.Record) {
		command, err := ledger.DecodeCommand(r.Value)
		if err != nil {
			return
		}
		delivery := ids.ID(ledger.CommandSubject(command).GetDeliveryId())
		if request := command.GetRequest(); request != nil {
			source := request.GetContent().GetSource()
			mark := history.Mark{Offset: source.GetOffset(), Webhook: ids.ID(request.GetSubject().GetWebhookId())}
			if one.marks[source.GetPartition()].Less(mark) {
				one.marks[source.GetPartition()] = mark
			}
			if _, again := one.first[delivery]; again { // said again by a router that began again
				return
			}
			one.first[delivery] = r.Offset
		}
		one.requests = append(one.requests, r.Offset)
		if one.doubtful(l.starts[at{ledger.Lanes, p}]) || r.Offset >= int64(c.GetPosition()) || unsettled[r.Offset] {
			one.open[delivery] = true
		}
	})
}

// scan reads a partition from an offset to its end.
func (l *look) scan(ctx context.Context, where at, from int64, each func(*kgo.Record)) error {
	end := l.ends[where]
	if from >= end {
		return nil
	}
	reader, err := l.Log.NewReader(ledger.ReaderOptions{MaxPartitionBytes: 8 << 20})
	if err != nil {
		return err
	}
	defer reader.Close()
	reader.Add(where.topic, where.partition, from)
	for next := from; next < end; {
		batches, err := reader.Poll(ctx, 0)
		for _, b := range batches {
			for _, r := range b.Records {
				each(r)
				next = r.Offset + 1
			}
		}
		if errors.Is(err, ledger.ErrGap) {
			return fmt.Errorf("%w: records in the middle of a partition are gone, which no repair brings back: restore the broker's data from a backup", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
