package verifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"hookledger/consumers/historian"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
)

// stateBytes is what a state takes in memory: a map of a million of them took 133
// bytes each.
const stateBytes = 140

// requests is what one partition of deliveries and lanes held at the beginning.
type requests struct {
	first, end int64
	// list is what the log of deliveries holds, in order; waiting what lies in lanes
	// and was trimmed there.
	list    []request
	waiting []history.DeliveryRow
}

type request struct {
	source int32
	mark   history.Mark
	state  state
	id     ids.ID
}

// state is the newest state of a delivery.
type state struct {
	version history.Version
	hash    uint64
}

// readRequests reads deliveries and lanes: both are trimmed all the time, so they
// are read first, and deliveries before lanes, because what is trimmed of it lies
// there or has a fact.
func (v *Verifier) readRequests(ctx context.Context) error {
	v.requests = make([]requests, v.Log.Partitions(ledger.Deliveries))
	hash := history.NewRowHasher()
	for p := range v.Log.Partitions(ledger.Deliveries) {
		r := &v.requests[p]
		for {
			*r = requests{first: v.starts[ledger.Deliveries][p], end: v.ends[ledger.Deliveries][p]}
			err := historian.ReadRange(ctx, v.Log, ledger.Deliveries, p, r.first, r.end, func(b ledger.Batch) error {
				for _, record := range b.Records {
					every := make(history.Sources) // accepts anything
					row, err := every.FoldRequest(record)
					if err != nil || row == nil {
						continue
					}
					source := int32(row.SourcePart)
					r.list = append(r.list, request{source, every[source], state{row.Version(), hash.Delivery(row)}, row.Delivery})
				}
				v.read.Add(int64(len(b.Records)))
				return nil
			})
			if err == nil {
				break
			}
			if !errors.Is(err, ledger.ErrBelowStart) {
				return err
			}
			starts, err := v.Log.Starts(ctx, ledger.Deliveries)
			if err != nil {
				return err
			}
			v.starts[ledger.Deliveries][p] = min(starts[p], r.end)
			ends, err := v.Log.Ends(ctx, ledger.Attempts) // what was trimmed has its facts below
			if err != nil {
				return err
			}
			v.ends[ledger.Attempts][p] = ends[p]
		}
		err := historian.ReadWaiting(ctx, v.Log, p, func(row history.DeliveryRow) {
			if int64(row.Off) < r.first {
				r.waiting = append(r.waiting, row)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deliveries folds the states again and compares them.
func (v *Verifier) deliveries(ctx context.Context) (*Table, error) {
	out := &Table{Name: string(history.TableDeliveries)}
	n, err := v.History.CountDeliveries(ctx)
	if err != nil {
		return nil, err
	}
	partitions := v.Log.Partitions(ledger.Deliveries)
	shares := uint32(1 + int64(n)/int64(partitions)*stateBytes/v.Memory)
	for range shares - 1 {
		for p, end := range v.ends[ledger.Attempts] {
			v.total.Add(end - v.starts[ledger.Attempts][p])
		}
	}
	for p := range partitions {
		for share := range shares {
			v.say(fmt.Sprintf("folding the deliveries of partition %d again", p))
			if err := v.share(ctx, out, p, history.Slice{Number: share, Of: shares}); err != nil {
				return nil, err
			}
		}
	}
	o, err := v.History.Beside(ctx, history.TableDeliveries, nil, partitions)
	if err != nil {
		return nil, err
	}
	if o.Strange > 0 {
		out.found(v.List, Difference{
			Surplus, fmt.Sprintf("deliveries, partition %d and above", partitions),
			fmt.Sprintf("%d rows in partitions that the topic does not have", o.Strange),
		})
		out.Different += o.Strange - 1
	}
	return out, nil
}

// share compares a share of the deliveries of one partition.
func (v *Verifier) share(ctx context.Context, out *Table, p int32, slice history.Slice) error {
	want, first, err := v.fold(ctx, p, slice)
	if err != nil {
		return err
	}
	out.Compared += uint64(len(want))
	suspects := make(map[ids.ID]state) // with no version: the log has none
	newer := make(map[ids.ID]history.State)
	err = v.History.States(ctx, p, slice, func(s history.State) {
		must, ok := want[s.Delivery]
		delete(want, s.Delivery)
		switch {
		case ok && must.hash == s.Hash:
		case s.Offset >= v.end(p, s.IsFact):
			newer[s.Delivery] = s
		case s.IsFact && s.Offset < first && s.Version.Compare(must.version) > 0:
			out.Unchecked++ // its fact is gone, and newer than what the log still has
		default:
			suspects[s.Delivery] = must
		}
	})
	if err != nil {
		return err
	}
	maps.Copy(suspects, want)
	if len(suspects) > 0 {
		if err := v.again(ctx, out, p, first, suspects, newer); err != nil {
			return err
		}
	}
	return v.newer(ctx, out, p, newer)
}

// end is where the records end that the states are folded from.
func (v *Verifier) end(p int32, fact bool) int64 {
	if fact {
		return v.ends[ledger.Attempts][p]
	}
	return v.requests[p].end
}

// fold makes the states from the log, and says from which offset of attempts on.
func (v *Verifier) fold(ctx context.Context, p int32, slice history.Slice) (map[ids.ID]state, int64, error) {
	r := &v.requests[p]
	hash := history.NewRowHasher()
	for {
		states := make(map[ids.ID]state)
		put := func(delivery ids.ID, version history.Version, hashed func() uint64) {
			if !slice.Has(delivery) {
				return
			}
			if has, ok := states[delivery]; !ok || version.Compare(has.version) > 0 {
				states[delivery] = state{version, hashed()}
			}
		}
		marks := make(history.Sources)
		first := v.starts[ledger.Attempts][p]
		err := historian.ReadRange(ctx, v.Log, ledger.Attempts, p, first, v.ends[ledger.Attempts][p], func(b ledger.Batch) error {
			for _, record := range b.Records {
				_, row, err := history.FoldAttempt(record)
				if err != nil || row == nil {
					continue
				}
				if int64(row.Round) < r.first {
					marks.Accept(int32(row.SourcePart), history.Mark{Offset: int64(row.SourceOff), Webhook: row.Webhook})
				}
				put(row.Delivery, row.Version(), func() uint64 { return hash.Delivery(row) })
			}
			v.read.Add(int64(len(b.Records)))
			return nil
		})
		if errors.Is(err, ledger.ErrBelowStart) {
			starts, err := v.Log.Starts(ctx, ledger.Attempts)
			if err != nil {
				return nil, 0, err
			}
			v.starts[ledger.Attempts][p] = min(starts[p], v.ends[ledger.Attempts][p])
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		for i := range r.waiting {
			row := &r.waiting[i]
			marks.Accept(int32(row.SourcePart), history.Mark{Offset: int64(row.SourceOff), Webhook: row.Webhook})
			put(row.Delivery, row.Version(), func() uint64 { return hash.Delivery(row) })
		}
		for _, q := range r.list {
			if marks.Accept(q.source, q.mark) {
				put(q.id, q.state.version, func() uint64 { return q.state.hash })
			}
		}
		return states, first, nil
	}
}

// again looks at deliveries a second time, when the history has come past what
// was appended meanwhile, and names those that still differ.
func (v *Verifier) again(ctx context.Context, out *Table, p int32, first int64, suspects map[ids.ID]state, newer map[ids.ID]history.State) error {
	if _, err := v.later(ctx, ledger.Attempts, ledger.Deliveries); err != nil {
		return err
	}
	list := slices.SortedFunc(maps.Keys(suspects), func(a, b ids.ID) int { return slices.Compare(a[:], b[:]) })
	found := make(map[ids.ID][]history.State)
	if err := v.History.StatesOf(ctx, list, func(s history.State) { found[s.Delivery] = append(found[s.Delivery], s) }); err != nil {
		return err
	}
	var faults []fault
	for _, delivery := range list {
		must, there := suspects[delivery], found[delivery]
		f := fault{delivery: delivery, known: must.version != history.Version{}, kind: Differs}
		switch {
		case len(there) == 0 && !f.known:
			continue
		case len(there) == 0:
			f.kind = Missing
		case len(there) > 1:
			f.kind = Doubled
		case there[0].Hash == must.hash && f.known:
			continue
		case there[0].Offset >= v.end(p, there[0].IsFact):
			newer[delivery] = there[0]
			continue
		case there[0].IsFact && there[0].Offset < first && there[0].Version.Compare(must.version) > 0:
			out.Unchecked++ // its fact is gone, and newer than what the log still has
			continue
		case !f.known:
			f.kind = Surplus
		}
		faults = append(faults, f)
	}
	room := max(v.List-len(out.Differences), 0)
	if err := v.explain(ctx, p, faults[:min(room, len(faults))]); err != nil {
		return err
	}
	for _, f := range faults {
		out.found(v.List, Difference{f.kind, f.delivery.Text(ids.Delivery), f.detail})
	}
	return nil
}

// fault is a delivery whose state is not what the log says; known says that the
// log has one.
type fault struct {
	delivery ids.ID
	known    bool
	kind     Kind
	detail   string
}

// explain says how states differ: the newest facts that the log has of these
// deliveries are folded once more.
func (v *Verifier) explain(ctx context.Context, p int32, faults []fault) error {
	if len(faults) == 0 {
		return nil
	}
	best := make(map[ids.ID]*history.DeliveryRow, len(faults))
	for _, f := range faults {
		best[f.delivery] = nil
	}
	err := historian.ReadRange(ctx, v.Log, ledger.Attempts, p, v.starts[ledger.Attempts][p], v.ends[ledger.Attempts][p], func(b ledger.Batch) error {
		for _, record := range b.Records {
			_, row, err := history.FoldAttempt(record)
			if err != nil || row == nil {
				continue
			}
			if was, ok := best[row.Delivery]; ok && (was == nil || row.Version().Compare(was.Version()) > 0) {
				best[row.Delivery] = row
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range faults {
		f := &faults[i]
		written, err := v.History.DeliveryWritten(ctx, f.delivery)
		if err != nil {
			return err
		}
		switch must := best[f.delivery]; {
		case !f.known && len(written) > 0:
			c := written[0].Columns
			f.detail = fmt.Sprintf("no record of the log says so: account %q, event %q, part %s, off %s", cut(c["account"]), cut(c["event_id"]), c["part"], c["off"])
		case must == nil: // known by its request alone
		case f.kind == Missing:
			f.detail = about(must)
		default:
			f.detail = difference("", history.PlainOf(must), written)
		}
	}
	return nil
}

// newer compares states that are newer than the ends that were taken with the
// records that they are of.
func (v *Verifier) newer(ctx context.Context, out *Table, p int32, states map[ids.ID]history.State) error {
	if len(states) == 0 {
		return nil
	}
	type at struct {
		fact   bool
		offset int64
	}
	by := make(map[at]history.State, len(states))
	for _, s := range states {
		by[at{s.IsFact, s.Offset}] = s
	}
	hash := history.NewRowHasher()
	check := func(row *history.DeliveryRow, fact bool, offset int64) {
		s, ok := by[at{fact, offset}]
		if !ok {
			return
		}
		delete(by, at{fact, offset})
		if row == nil || row.Delivery != s.Delivery || hash.Delivery(row) != s.Hash {
			out.found(v.List, Difference{Differs, s.Delivery.Text(ids.Delivery), fmt.Sprintf("it is not what its record %d says", offset)})
		}
	}
	for _, t := range []ledger.Topic{ledger.Attempts, ledger.Deliveries} {
		ends, err := v.Log.Ends(ctx, t)
		if err != nil {
			return err
		}
		err = historian.ReadRange(ctx, v.Log, t, p, v.end(p, t == ledger.Attempts), ends[p], func(b ledger.Batch) error {
			for _, record := range b.Records {
				if t == ledger.Attempts {
					_, row, _ := history.FoldAttempt(record) // nil when it can't be understood
					check(row, true, record.Offset)
					continue
				}
				row, _ := make(history.Sources).FoldRequest(record) // nil when it can't be understood
				check(row, false, record.Offset)
			}
			return nil
		})
		if errors.Is(err, ledger.ErrBelowStart) { // trimmed before it was read
			for w := range by {
				if w.fact == (t == ledger.Attempts) {
					delete(by, w)
					out.Moving++
				}
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	for w, s := range by {
		out.found(v.List, Difference{Surplus, s.Delivery.Text(ids.Delivery), fmt.Sprintf("the log ends before the record that it names, %d", w.offset)})
	}
	return nil
}
