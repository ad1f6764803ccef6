package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a producer holds at most without an acknowledgement. A single larger
// record is let in alone.
const (
	producerBytes   = 16 << 20
	producerRecords = 1 << 15
)

// errProducerClosed is why an append after Close fails.
var errProducerClosed = errors.New("the producer is closed")

// Producer appends records of one incarnation of one component, in order for
// each partition. The first error ends it: every later append fails with the
// same, and nothing that was appended to a partition after a record that failed
// gets into the log. So nothing can follow a record that may be missing.
//
// It appends in rounds: while one is under way, the next gathers. A pipelined
// kgo client would be no slower to begin with, but it goes on after a failure:
// what is handed to it between the failure of a record and the call that tells
// of it is sent under a new epoch, and follows the gap. Rounds also make the
// largest batches that the broker's pace allows, without waiting for more.
type Producer struct {
	log    *Log
	client *kgo.Client
	wake   chan struct{} // something is pending
	closed chan struct{}
	ended  chan struct{}
	// placed counts the records that the client has put in a partition's buffer.
	placed *atomic.Int64

	mu             sync.Mutex
	pending        []pending
	bytes, records int           // without an acknowledgement
	taken, settled uint64        // records since the beginning; settled by whole rounds
	changed        chan struct{} // made by who waits, closed when records leave
	failed         error
}

// pending is a record that the next round appends.
type pending struct {
	record Record
	size   int
	done   func(Position, error)
}

// NewProducer makes a producer with an identity of its own.
func (l *Log) NewProducer() (*Producer, error) {
	p := &Producer{
		log: l, wake: make(chan struct{}, 1), closed: make(chan struct{}), ended: make(chan struct{}),
		placed: new(atomic.Int64),
	}
	client, err := l.newClient("producer", append(l.producerOptions(),
		kgo.ManualFlushing(), // a round is sent when it is whole
		kgo.MaxBufferedRecords(4*producerRecords),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, _ int) int {
				p.placed.Add(1)
				return int(r.Partition)
			}
		})),
	)...)
	if err != nil {
		return nil, err
	}
	p.client = client
	go p.run()
	return p, nil
}

// Append appends a record and calls done once: with its place, when all in-sync
// replicas have it, or with an error. done runs on another goroutine, or on this
// one when the append fails at once; it must not block. Append blocks while too
// much is unacknowledged, until ctx ends, which is an error like any other and
// ends the producer; ctx does not cut short what has been taken.
func (p *Producer) Append(ctx context.Context, r Record, done func(Position, error)) {
	size := wireSize(r)
	if limit := p.log.settings.maxBatch(r.Topic); size > limit {
		done(Position{}, p.fail(r, fmt.Errorf("%w: %d bytes, at most %d are allowed", kerr.MessageTooLarge, size, limit)))
		return
	}
	for {
		p.mu.Lock()
		if err := p.failed; err != nil {
			p.mu.Unlock()
			done(Position{}, err)
			return
		}
		if p.records == 0 || p.records < producerRecords && p.bytes+size <= producerBytes {
			p.pending = append(p.pending, pending{r, size, done})
			p.records++
			p.taken++
			p.bytes += size
			p.mu.Unlock()
			select {
			case p.wake <- struct{}{}:
			default:
			}
			return
		}
		changed := p.change()
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			done(Position{}, p.fail(r, ctx.Err()))
			return
		}
	}
}

// wireSize is not less than what the record takes in a batch of its own.
func wireSize(r Record) int {
	n := 256 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += 10 + len(h.Key) + len(h.Value)
	}
	return n
}

// fail ends the producer, and returns the error that ended it.
func (p *Producer) fail(r Record, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = fmt.Errorf("append to %s/%d: %w", r.Topic, r.Partition, err)
	}
	return p.failed
}

// change returns what is closed when records leave. The caller holds mu.
func (p *Producer) change() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// leave tells those who wait that records have left. The caller holds mu.
func (p *Producer) leave() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// run appends rounds until Close.
func (p *Producer) run() {
	defer close(p.ended)
	for {
		p.mu.Lock()
		rest := p.pending
		p.pending = nil
		p.mu.Unlock()
		for len(rest) > 0 {
			n := p.round(rest)
			rest = rest[n:]
			p.mu.Lock()
			p.settled += uint64(n)
			p.leave()
			p.mu.Unlock()
		}
		select {
		case <-p.wake:
			continue
		case <-p.closed:
		}
		p.mu.Lock()
		none := len(p.pending) == 0
		p.mu.Unlock()
		if none {
			return
		}
	}
}

// round appends the beginning of what is pending, waits until each record has
// been acknowledged or has failed, and returns how many that were. It is cut
// short after a record that the client could not place at once (its topic is
// not known yet, or can't be loaded), because whether that record will fail
// must be known before another follows.
func (p *Producer) round(records []pending) int {
	var under sync.WaitGroup
	placed, taken := p.placed.Load(), 0
	for _, r := range records {
		p.mu.Lock()
		failed := p.failed
		p.mu.Unlock()
		if failed != nil && taken > 0 {
			break
		}
		taken++
		if failed != nil {
			p.settle(r, Position{}, failed)
			continue
		}
		under.Add(1)
		p.client.Produce(context.Background(), p.log.kafka(r.record), func(got *kgo.Record, err error) {
			defer under.Done()
			if err != nil {
				p.settle(r, Position{}, p.fail(r.record, err))
				return
			}
			p.settle(r, Position{r.record.Topic, got.Partition, got.Offset}, nil)
		})
		if p.placed.Load() != placed+int64(taken) {
			break
		}
	}
	_ = p.client.Flush(context.Background()) // its only error is its context's
	under.Wait()
	return taken
}

// settle ends a record.
func (p *Producer) settle(r pending, at Position, err error) {
	r.done(at, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records--
	p.bytes -= r.size
	p.leave()
}

// Flush waits until everything appended before has been acknowledged or has
// failed, and returns the error that ended the producer, if any.
func (p *Producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	upto := p.taken
	for p.settled < upto {
		changed := p.change()
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("flush appends: %w", ctx.Err())
		}
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	return p.failed
}

// Close fails what is not yet acknowledged; whether it is in the log is
// unknown. It waits for every done, so it must not be called from one, nor with
// a lock that one takes.
func (p *Producer) Close() {
	p.mu.Lock()
	if p.failed == nil {
		p.failed = errProducerClosed
	}
	again := p.isClosed()
	if !again {
		close(p.closed)
	}
	p.mu.Unlock()
	if !again {
		p.client.Close()
	}
	<-p.ended
}

func (p *Producer) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}
