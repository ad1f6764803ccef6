package router

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// all reads a topic's partition whole.
func (s *stage) all(topic ledger.Topic, partition int32) []*kgo.Record {
	s.t.Helper()
	starts, err := s.log.Starts(s.t.Context(), topic)
	if err != nil {
		s.t.Fatal(err)
	}
	ends, err := s.log.Ends(s.t.Context(), topic)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := s.log.NewReader(ledger.ReaderOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	var got []*kgo.Record
	if starts[partition] < ends[partition] {
		r.Add(topic, partition, starts[partition])
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	for int64(len(got)) < ends[partition]-starts[partition] {
		batches, err := r.Poll(ctx, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, b := range batches {
			got = append(got, b.Records...)
		}
	}
	return got
}

// accepted folds deliveries as the dispatcher does: for each source partition the
// greatest (offset, webhook) is kept, and what is not greater is dropped.
func (s *stage) accepted() (requests []*facts.DeliveryRequest) {
	s.t.Helper()
	type mark struct {
		offset  int64
		webhook ids.ID
	}
	for partition := range s.log.Partitions(ledger.Deliveries) {
		sources := map[int32]mark{}
		for _, r := range s.all(ledger.Deliveries, partition) {
			c, err := ledger.DecodeCommand(r.Value)
			if err != nil {
				s.t.Fatal(err)
			}
			d := c.GetRequest()
			src := d.GetContent().GetSource()
			now := mark{src.GetOffset(), ids.ID(d.GetSubject().GetWebhookId())}
			was, ok := sources[src.GetPartition()]
			if ok && (now.offset < was.offset || now.offset == was.offset && bytes.Compare(now.webhook[:], was.webhook[:]) <= 0) {
				continue
			}
			sources[src.GetPartition()] = now
			requests = append(requests, d)
		}
	}
	return requests
}

// routed waits until everything in events is routed and committed.
func (s *stage) routed() {
	s.t.Helper()
	eventually(s.t, "all events are committed", func() bool {
		ends, err := s.log.Ends(s.t.Context(), ledger.Events)
		if err != nil {
			s.t.Fatal(err)
		}
		commits, err := s.log.Committed(s.t.Context(), Group, ledger.Events)
		if err != nil {
			s.t.Fatal(err)
		}
		for p, end := range ends {
			if commits[p] != end {
				return false
			}
		}
		return true
	})
}

// pairs counts accepted requests by event id and webhook.
func (s *stage) pairs() map[string]int {
	s.t.Helper()
	got := make(map[string]int)
	for _, d := range s.accepted() {
		got[d.GetSubject().GetEventId()+" "+strconv.Itoa(int(d.GetSubject().GetWebhookId()[0]))]++
	}
	return got
}

func (s *stage) want(pairs ...string) {
	s.t.Helper()
	got := s.pairs()
	for _, p := range pairs {
		if got[p] != 1 {
			s.t.Errorf("%q was accepted %d times", p, got[p])
		}
		delete(got, p)
	}
	for p, n := range got {
		s.t.Errorf("%q was accepted %d times, and should not be", p, n)
	}
}
