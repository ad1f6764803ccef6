package subscriptions

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// ErrShortened means that `config` ends before what this node has applied. Its tail was lost.
var ErrShortened = errors.New("config is shorter than what was applied from it")

// errNotRunning is why nothing happens after Run has returned without an error.
var errNotRunning = errors.New("the subscriptions have been stopped")

// Options of a node's subscriptions.
type Options struct {
	// Folder for the snapshot of the fold; "" is none, then every start reads all of config.
	Folder string
	// Now is the clock that dates commands (default time.Now).
	Now func() time.Time
	// Random gives fact ids (default crypto/rand).
	Random io.Reader
	// Logger (default none).
	Logger *slog.Logger
}

// Subscriptions is the fold on a node, kept current from the log while Run
// runs. All methods are safe for concurrent use.
type Subscriptions struct {
	*Fold
	log       *ledger.Log
	opts      Options
	progress  *progress
	questions *questions
	// head and savedFacts belong to the snapshot; they and read are Run's alone.
	head       snapshotHead
	savedFacts int64
	// read counts the records that came from the log since the start.
	read int64

	mu       sync.Mutex
	verdicts map[ids.ID]chan<- Verdict // by fact_id, of the commands under way on this node
	feeds    map[*Feed]struct{}
}

// NewNode makes the subscriptions of a node; nothing is known before Run runs.
func NewNode(log *ledger.Log, opts Options) *Subscriptions {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Random == nil {
		opts.Random = rand.Reader
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	partitions := log.Partitions(ledger.Config)
	return &Subscriptions{
		Fold: New(partitions, func(account string) int32 { return log.Partition(ledger.Config, []byte(account)) }),
		log:  log, opts: opts, progress: newProgress(partitions), questions: newQuestions(),
		verdicts: make(map[ids.ID]chan<- Verdict), feeds: make(map[*Feed]struct{}),
	}
}

// Run follows config until ctx ends (nil), or until a record can't be judged
// or the log is damaged (an error that says what to do). It may be called once.
// Whoever waits when it returns gets an error.
func (s *Subscriptions) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := s.loadSnapshot(ctx); err != nil {
		if ctx.Err() != nil {
			s.progress.stop(errNotRunning)
			return nil
		}
		err = fmt.Errorf("follow config: %w", err)
		s.progress.stop(err)
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.snapshots(ctx) })
	wg.Go(func() {
		s.questions.run(ctx, func(ctx context.Context) (map[int32]int64, error) {
			ends, err := s.ends(ctx)
			if errors.Is(err, ErrShortened) {
				cancel(err)
			}
			return ends, err
		})
	})
	err := s.follow(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, ErrShortened) {
		err = cause
	} else if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	cancel(nil)
	wg.Wait()
	if err != nil {
		err = fmt.Errorf("follow config: %w", err)
		s.progress.stop(err)
		return err
	}
	s.saveSnapshot(1)
	s.progress.stop(errNotRunning)
	return nil
}

// ends asks for the end offsets, and checks that they hold what was applied.
func (s *Subscriptions) ends(ctx context.Context) (map[int32]int64, error) {
	before := s.progress.positions()
	ends, err := s.log.Ends(ctx, ledger.Config)
	if err != nil {
		return nil, err
	}
	for partition, applied := range before {
		end, ok := ends[int32(partition)]
		if !ok {
			return nil, fmt.Errorf("no end offset of config/%d", partition)
		}
		if end < applied {
			return nil, fmt.Errorf("%w: config/%d ends at %d, applied was up to %d: its tail was lost; restore the broker's data, or restart this node to go on from what is there",
				ErrShortened, partition, end, applied)
		}
	}
	return ends, nil
}

func (s *Subscriptions) follow(ctx context.Context) error {
	reader, err := s.log.NewReader(ledger.ReaderOptions{})
	if err != nil {
		return err
	}
	defer reader.Close()
	ends, err := s.log.Ends(ctx, ledger.Config)
	if err != nil {
		return err
	}
	started := s.sayStarted(ends)
	for partition, next := range s.progress.positions() {
		reader.Add(ledger.Config, int32(partition), next)
	}
	for {
		batches, err := reader.Poll(ctx, 0)
		if len(batches) > 0 {
			// Nothing may act on what a power cut could take.
			if err := s.log.Synced(ctx); err != nil {
				return err
			}
		}
		for _, b := range batches {
			for _, r := range b.Records {
				if err := s.apply(r); err != nil {
					return err
				}
				s.read++
			}
			s.progress.advance(b.Partition, s.Next(b.Partition))
		}
		if !started {
			started = s.sayStarted(ends)
		}
		if err != nil {
			return err
		}
	}
}

// sayStarted says, once config is applied up to where it ended at the start,
// how many of its records the snapshot spared and how many were read.
func (s *Subscriptions) sayStarted(ends map[int32]int64) bool {
	positions := s.progress.positions()
	for partition, end := range ends {
		if positions[partition] < end {
			return false
		}
	}
	var applied int64
	for _, next := range positions {
		applied += next
	}
	s.opts.Logger.Info("config is applied", slog.Int64("from_snapshot", applied-s.read), slog.Int64("read", s.read))
	return true
}

func (s *Subscriptions) apply(r *kgo.Record) error {
	fact, err := ledger.DecodeConfig(r.Value)
	if err != nil {
		return &RecordError{Partition: r.Partition, Offset: r.Offset, Err: err}
	}
	v, err := s.Apply(r.Partition, r.Offset, r.Timestamp.UnixMilli(), fact)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Kind == Applied && changesWebhook(fact) {
		for f := range s.feeds {
			f.mark(Change{Account: fact.GetAccount(), ID: v.WebhookID})
		}
	}
	// The first verdict of a fact is its verdict; the channel has room for it.
	id := ids.ID(fact.GetFactId())
	if ch := s.verdicts[id]; ch != nil {
		delete(s.verdicts, id)
		ch <- v
	}
	return nil
}

func changesWebhook(f *facts.ConfigFact) bool {
	switch f.GetChange().(type) {
	case *facts.ConfigFact_WebhookCreated, *facts.ConfigFact_WebhookUpdated, *facts.ConfigFact_WebhookDisabled,
		*facts.ConfigFact_SecretRotated, *facts.ConfigFact_WebhookDeleted:
		return true
	}
	return false
}

// WaitApplied returns when the records below these offsets have been applied.
func (s *Subscriptions) WaitApplied(ctx context.Context, next map[int32]int64) error {
	if err := s.progress.wait(ctx, next); err != nil {
		return fmt.Errorf("wait until config is applied: %w", err)
	}
	return nil
}
