package verifier

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/consumers/historian"
	"hookledger/ledger"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
)

// Options of a verification. Log and History are required.
type Options struct {
	Log *ledger.Log
	// History, pinned to its database.
	History *history.History
	// Memory bounds the states of deliveries that are held (default 512 MiB).
	Memory int64
	// List is how many differences of a table are listed (default 20); all are counted.
	List int
	// Wait is how long the history may take to come past the ends of the log
	// (default 1 min).
	Wait time.Duration
	// Settle is how long attempts_hourly may take to be added up (default 15 s).
	Settle time.Duration
}

// ErrBehind: the history did not come past the ends of the log in time.
var ErrBehind = errors.New("the history is behind the log and did not catch up: is a server with the role historian running?")

// Verifier compares once.
type Verifier struct {
	Options
	read, total atomic.Int64
	phase       atomic.Pointer[string]
	ends        map[ledger.Topic]map[int32]int64
	starts      map[ledger.Topic]map[int32]int64
	letters     letters
	requests    []requests
}

// New makes a verification; nothing is read before Run.
func New(o Options) (*Verifier, error) {
	if o.Log == nil || o.History == nil {
		return nil, errors.New("verifier: Options.Log and Options.History are required")
	}
	if o.Memory == 0 {
		o.Memory = 512 << 20
	}
	if o.List == 0 {
		o.List = 20
	}
	if o.Wait == 0 {
		o.Wait = time.Minute
	}
	if o.Settle == 0 {
		o.Settle = 15 * time.Second
	}
	v := &Verifier{Options: o, letters: letters{reasons: make(map[place]string)}}
	v.say("looking at the log")
	return v, nil
}

// Progress is how many records were read of how many, and what is being done.
func (v *Verifier) Progress() (read, total int64, phase string) {
	return v.read.Load(), v.total.Load(), *v.phase.Load()
}

func (v *Verifier) say(phase string) { v.phase.Store(&phase) }

// Run compares. An error means that it could not be done, and says nothing about
// the history.
func (v *Verifier) Run(ctx context.Context) (*Report, error) {
	report := &Report{Database: v.History.Database(), Began: time.Now().UTC()}
	if err := v.look(ctx); err != nil {
		return nil, err
	}
	if err := v.wait(ctx, v.ends); err != nil {
		return nil, err
	}
	if err := v.letters.read(ctx, v, v.starts[ledger.DeadLetters], v.ends[ledger.DeadLetters]); err != nil {
		return nil, err
	}
	for _, compare := range []func(context.Context) (*Table, error){
		func(ctx context.Context) (*Table, error) { return v.records(ctx, history.TableConfig, ledger.Config) },
		func(ctx context.Context) (*Table, error) { return v.records(ctx, history.TableEvents, ledger.Events) },
		func(ctx context.Context) (*Table, error) {
			return v.records(ctx, history.TableAttempts, ledger.Attempts)
		},
		v.deliveries, v.hours,
	} {
		began := time.Now()
		t, err := compare(ctx)
		if err != nil {
			return nil, err
		}
		t.Seconds = time.Since(began).Seconds()
		report.Tables = append(report.Tables, *t)
	}
	report.Seconds, report.Records = time.Since(report.Began).Seconds(), v.read.Load()
	return report, nil
}

// look takes the starts and ends, and reads what the owner of deliveries may trim
// at any moment.
func (v *Verifier) look(ctx context.Context) error {
	v.starts, v.ends = make(map[ledger.Topic]map[int32]int64), make(map[ledger.Topic]map[int32]int64)
	var err error
	for _, t := range []ledger.Topic{ledger.Deliveries, ledger.Attempts, ledger.Events, ledger.Config, ledger.DeadLetters} {
		if v.starts[t], err = v.Log.Starts(ctx, t); err != nil {
			return err
		}
		if v.ends[t], err = v.Log.Ends(ctx, t); err != nil {
			return err
		}
		for p, end := range v.ends[t] {
			v.total.Add(end - v.starts[t][p])
			if t == ledger.Attempts { // for the rows and for the states
				v.total.Add(end - v.starts[t][p])
			}
		}
	}
	return v.readRequests(ctx)
}

// wait waits until the history has covered ends.
func (v *Verifier) wait(ctx context.Context, ends map[ledger.Topic]map[int32]int64) error {
	v.say("waiting for the history to come past the ends of the log")
	limited, cancel := context.WithTimeout(ctx, v.Wait)
	defer cancel()
	for t, of := range ends {
		if err := v.History.WaitCovered(limited, t, of); err != nil {
			if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("%w (waited %s; --wait)", ErrBehind, v.Wait)
			}
			return err
		}
	}
	return nil
}

// later takes ends again, and waits for the history to come past them.
func (v *Verifier) later(ctx context.Context, topics ...ledger.Topic) (map[ledger.Topic]map[int32]int64, error) {
	ends := make(map[ledger.Topic]map[int32]int64)
	for _, t := range topics {
		of, err := v.Log.Ends(ctx, t)
		if err != nil {
			return nil, err
		}
		ends[t] = of
	}
	return ends, v.wait(ctx, ends)
}

// place is a record of events.
type place struct {
	partition int32
	offset    int64
}

// letters are the reasons of the dead letters that are about events.
type letters struct {
	reasons map[place]string
	next    map[int32]int64
}

func (l *letters) read(ctx context.Context, v *Verifier, from, to map[int32]int64) error {
	v.say("reading the dead letters")
	for p, end := range to {
		err := historian.ReadRange(ctx, v.Log, ledger.DeadLetters, p, from[p], end, func(b ledger.Batch) error {
			for _, r := range b.Records {
				if row, err := history.FoldDeadLetter(r); err == nil && row != nil {
					l.reasons[place{int32(row.Part), int64(row.Off)}] = row.Reason
				}
			}
			v.read.Add(int64(len(b.Records)))
			return nil
		})
		if err != nil && !errors.Is(err, ledger.ErrBelowStart) {
			return err
		}
	}
	l.next = to
	return nil
}

// folder makes rows from the records of one partition of a topic, in order.
type folder struct {
	v    *Verifier
	fold *subscriptions.Fold
	hash *history.RowHasher
}

func (v *Verifier) folder() *folder {
	return &folder{v: v, hash: history.NewRowHasher(), fold: subscriptions.New(v.Log.Partitions(ledger.Config), func(account string) int32 {
		return v.Log.Partition(ledger.Config, []byte(account))
	})}
}

// row is the row of a record, and its hash.
func (f *folder) row(t ledger.Topic, r *kgo.Record) (any, uint64, error) {
	switch t {
	case ledger.Config:
		fact, err := ledger.DecodeConfig(r.Value)
		if err != nil {
			return nil, 0, fmt.Errorf("%s/%d/%d: %w", t, r.Partition, r.Offset, err)
		}
		verdict, err := f.fold.Apply(r.Partition, r.Offset, r.Timestamp.UnixMilli(), fact)
		if err != nil {
			return nil, 0, fmt.Errorf("judge a change of configuration: %w", err)
		}
		row := history.FoldConfig(r, fact, verdict.Kind)
		return &row, f.hash.Change(&row), nil
	case ledger.Events:
		row := history.FoldEvent(r)
		if reason, ok := f.v.letters.reasons[place{r.Partition, r.Offset}]; ok {
			row.Ver = 1
			if row.Status == history.EventAccepted {
				row.Status, row.Reason = history.EventRepeat, reason
			}
		}
		return &row, f.hash.Event(&row), nil
	case ledger.Attempts:
		row, _, _ := history.FoldAttempt(r) // one that can't be understood has a row that says so
		return &row, f.hash.Attempt(&row), nil
	case ledger.Deliveries, ledger.EventIDs, ledger.Lanes, ledger.DeadLetters:
	}
	return nil, 0, fmt.Errorf("records of %s have no rows", t)
}
