package repair

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// fill is what a partition is brought to its end with.
type fill struct {
	from, to int64
	known    map[int64]ledger.Record // as the history has them
	facts    []string
}

// named bounds how many of the lost are named one by one.
const named = 100

// fill asks the history for what was lost.
func (l *look) fill(ctx context.Context, where at, to int64) (*fill, error) {
	f := &fill{from: l.ends[where], to: to, known: make(map[int64]ledger.Record)}
	if _, ok := l.place(where); !ok {
		return f, nil
	}
	switch where.topic {
	case ledger.Events:
		rows, err := l.History.EventRecords(ctx, where.partition, f.from, to)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			f.known[rows[i].Offset] = eventRecord(where.partition, &rows[i])
		}
	case ledger.Attempts:
		rows, err := l.History.AttemptRecords(ctx, where.partition, f.from, to)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			r := ledger.AttemptRecord(where.partition, row.Fact)
			r.Time = row.Time
			f.known[row.Offset] = r
		}
	case ledger.Config:
		rows, err := l.History.ChangesBeyond(ctx, where.partition, f.from)
		if err != nil {
			return nil, err
		}
		for _, c := range rows {
			if len(f.facts) == named {
				f.facts = append(f.facts, fmt.Sprintf("and %d more: see config_changes from part %d, off %d on", len(rows)-named, where.partition, c.Offset))
				break
			}
			f.facts = append(f.facts, fmt.Sprintf("lost, to be made again by its owner: %s of %s in account %q by %s at %s (request %s, then %s)",
				c.Kind, c.Subject, c.Account, c.Actor, c.At.UTC().Format("2006-01-02T15:04:05.000Z"), c.RequestID, c.Verdict))
		}
	case ledger.Deliveries, ledger.Lanes, ledger.EventIDs, ledger.DeadLetters:
	}
	return f, nil
}

// eventRecord is an event as its publisher's record was.
func eventRecord(p int32, row *history.EventRecord) ledger.Record {
	e := &row.Event
	return ledger.Record{Topic: ledger.Events, Partition: p, Key: e.Key(), Value: e.Data, Headers: e.Headers(), Time: row.Time}
}

// atOnce is how many records are appended before their acknowledgements are waited for.
const atOnce = 1000

// extend appends what a partition lacks, each at its offset.
func (l *look) extend(ctx context.Context, where at, f *fill) error {
	for next := f.from; next < f.to; {
		var batch []ledger.Record
		for o := next; o < f.to && len(batch) < atOnce; o++ {
			r, ok := f.known[o]
			if !ok {
				var err error
				if r, err = l.lost(where, o); err != nil {
					return err
				}
			}
			batch = append(batch, r)
		}
		at, err := l.Log.Append(ctx, batch...)
		if err != nil {
			return err
		}
		for i, p := range at {
			if p.Offset != next+int64(i) {
				return fmt.Errorf("a record came to lie at %d, want %d: something else appends to the log: stop it, and repair again", p.Offset, next+int64(i))
			}
		}
		next += int64(len(at))
	}
	return l.Log.Synced(ctx)
}

// lost is the record that stands for one that nobody has any more. Readers don't
// understand it, so it goes to the dead letters too. In `config`, which is never
// read over, it is a fact that answers a call which there never was.
func (l *look) lost(where at, offset int64) (ledger.Record, error) {
	text, err := json.Marshal(map[string]any{
		"lost": where.String() + "/" + strconv.FormatInt(offset, 10), "repaired_by": l.Actor, "at": l.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
	})
	if err != nil {
		return ledger.Record{}, err
	}
	if where.topic != ledger.Config {
		return ledger.Record{Topic: where.topic, Partition: where.partition, Key: []byte("hookledger-repair"), Value: text}, nil
	}
	var id, call ids.ID
	if id, err = ids.Random(rand.Reader); err == nil {
		call, err = ids.Random(rand.Reader)
	}
	return l.Log.ConfigRecord(&facts.ConfigFact{
		FactId: id[:], Rules: subscriptions.Rules, Account: l.account(where.partition), AtMs: l.Now().UnixMilli(),
		Actor:  &facts.Actor{Kind: facts.ActorKind_ACTOR_KIND_OPERATOR, Id: l.Actor},
		Change: &facts.ConfigFact_CallAnswered{CallAnswered: &facts.CallAnswered{StartedId: call[:], Body: text}},
	}), err
}

// account is one of ours that belongs to a partition of `config`.
func (l *look) account(partition int32) string {
	for n := 0; ; n++ {
		if a := Account + "-" + strconv.Itoa(n); l.Log.Partition(ledger.Config, []byte(a)) == partition {
			return a
		}
	}
}

// places is a list of one.
func places(p history.Place) []history.Place { return []history.Place{p} }
