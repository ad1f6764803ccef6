package router

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// route routes a batch of one partition.
func (in *incarnation) route(b ledger.Batch) error {
	in.mu.Lock()
	p := in.parts[b.Partition]
	in.mu.Unlock()
	if p == nil || !p.reading {
		return nil
	}
	if err := p.seal(); err != nil {
		return err
	}
	c := in.newChunk()
	c.events = len(b.Records)
	now := time.Now()
	for _, r := range b.Records {
		if r.Offset != p.next {
			return fmt.Errorf("events/%d: got offset %d, want %d", p.partition, r.Offset, p.next)
		}
		if err := in.record(p, c, r); err != nil {
			return err
		}
		p.next++
		in.m.EventAge.Observe(now.Sub(r.Timestamp).Seconds())
	}
	if c.letters > 0 {
		in.opts.Logger.Warn("events went to the dead letters", "partition", p.partition,
			"count", c.letters, "first_offset", c.letterAt, "first_reason", c.letterWhy)
	}
	in.m.Position.WithLabelValues(strconv.Itoa(int(p.partition))).Set(float64(p.next))
	in.routed(p, c)
	return nil
}

// record routes one record of events.
func (in *incarnation) record(p *part, c *chunk, r *kgo.Record) error {
	e, err := decode(r)
	if err != nil {
		return in.deadLetter(c, r, err)
	}
	if err := p.advance(c, r); err != nil {
		return err
	}
	if !e.Fresh {
		repeat, other, err := in.judge(p, c, r, e)
		switch {
		case err != nil:
			return err
		case other != nil:
			return in.deadLetter(c, r, other)
		case repeat:
			in.m.Events.WithLabelValues(resultRepeat).Inc()
			return nil
		}
	}
	in.hooks = in.opts.Subscriptions.Match(in.hooks[:0], e.Account, e.Type, e.IndexID)
	if len(in.hooks) == 0 {
		in.m.Events.WithLabelValues(resultUnmatched).Inc()
		return nil
	}
	in.m.Events.WithLabelValues(resultMatched).Inc()
	return in.request(c, r, e, in.hooks)
}

func decode(r *kgo.Record) (*event.Event, error) {
	if r.Attrs.IsControl() {
		return nil, fmt.Errorf("%w: the end of a transaction: produce events without one, those of an aborted one are delivered too", event.ErrInvalid)
	}
	return event.Decode(r)
}

// newCommand makes the request that is filled in for each output: encoding
// copies it, so one is enough.
func newCommand() *facts.DeliveryCommand {
	return &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Request{Request: &facts.DeliveryRequest{
		Subject: new(facts.Subject), Content: &facts.Content{Source: new(facts.Source)},
	}}}
}

// request appends one request for each webhook.
func (in *incarnation) request(c *chunk, r *kgo.Record, e *event.Event, hooks []*subscriptions.Webhook) error {
	request := in.command.GetRequest()
	s, content := request.GetSubject(), request.GetContent()
	s.Account, s.EventId, s.EventType, s.CreatedMs = e.Account, e.ID, e.Type, r.Timestamp.UnixMilli()
	content.Source.Partition, content.Source.Offset = r.Partition, r.Offset
	var hash [sha256.Size]byte
	for i, w := range hooks {
		if i == 0 || !bytes.Equal(w.Metadata, hooks[i-1].Metadata) { // most have none
			body := event.Compose(e, w.Metadata)
			hash = sha256.Sum256(body)
			content.BodyHash, content.BodySize = hash[:], uint32(len(body))
			request.Body = nil
			if len(body) <= in.opts.BodyLimit {
				request.Body = body
			}
		}
		id := ids.ForDelivery(r.Timestamp.UnixMilli(), r.Partition, r.Offset, w.ID)
		s.DeliveryId, s.WebhookId = id[:], w.ID[:]
		content.MetadataOffset = w.MetadataOffset
		in.output(c, in.log.CommandRecord(in.command))
	}
	in.m.Requests.Add(float64(len(hooks)))
	return in.alive()
}

// deadLetter copies a record to the dead letters.
func (in *incarnation) deadLetter(c *chunk, r *kgo.Record, reason error) error {
	in.m.Events.WithLabelValues(resultDeadLetter).Inc()
	if c.letters++; c.letters == 1 {
		c.letterAt, c.letterWhy = r.Offset, reason
	}
	in.output(c, in.log.DeadLetterRecord(r, reason))
	return in.alive()
}

// output appends an output of a chunk.
func (in *incarnation) output(c *chunk, r ledger.Record) {
	c.open.Add(1)
	in.producer.Append(in.life, r, c.done)
}

func (in *incarnation) alive() error {
	if in.life.Err() != nil {
		return context.Cause(in.life)
	}
	return nil
}

// judge says whether an event is a repeat of an earlier one; other is why it is
// a dead letter, if it has an earlier one's id and other content.
func (in *incarnation) judge(p *part, c *chunk, r *kgo.Record, e *event.Event) (repeat bool, other, err error) {
	identity := e.Identity()
	at, found := p.repeats.find(identity, r.Offset)
	if found {
		first, err := in.earlier(p, e, at)
		switch {
		case errors.Is(err, ledger.ErrBelowStart):
			return false, fmt.Errorf("the id was used before (first at %d/%d), and whether with this content can't be said: that record has been trimmed", p.partition, at), nil
		case err != nil:
			return false, nil, err
		case first == nil: // another id with the same hash
		case first.ContentHash() == e.ContentHash():
			return true, nil, nil
		default:
			return false, fmt.Errorf("the id was used before with other content (first at %d/%d)", p.partition, at), nil
		}
	}
	if err := p.repeats.insert(hourOf(p.timeMs), identity, r.Offset); err != nil {
		return false, nil, err
	}
	c.passed = append(c.passed, passed{identity, r.Offset, p.timeMs})
	return false, nil, nil
}

// earlier reads the earlier event; nil if it is another one after all.
func (in *incarnation) earlier(p *part, e *event.Event, at int64) (*event.Event, error) {
	in.m.RepeatReads.Inc()
	r, err := in.log.ReadAt(in.life, ledger.Events, p.partition, at)
	if err != nil {
		return nil, fmt.Errorf("confirm a repeat: %w", err)
	}
	first, err := event.Decode(r)
	if err != nil || first.Account != e.Account || first.OrderingKey != e.OrderingKey || first.ID != e.ID {
		return nil, nil //nolint:nilnil,nilerr // documented
	}
	return first, nil
}

// advance moves record time on with a valid event. The first event of an hour
// leaves a mark among the passed ids.
func (p *part) advance(c *chunk, r *kgo.Record) error {
	before := hourOf(p.timeMs)
	p.timeMs = max(p.timeMs, r.Timestamp.UnixMilli())
	hour := hourOf(p.timeMs)
	if hour == before {
		return nil
	}
	c.passed = append(c.passed, passed{ids.ID{}, r.Offset, p.timeMs})
	return p.repeats.expire(hour)
}

// seal tells the memory of ids of an hour that has begun in event-ids.
func (p *part) seal() error {
	p.mu.Lock()
	began := p.began
	p.began = mark{}
	p.mu.Unlock()
	if began.hour == 0 {
		return nil
	}
	return p.repeats.seal(began.hour, began.at)
}
