package partition

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// openView is a View in which every webhook is active.
type openView struct{ state State }

func (v *openView) Webhook(ids.ID) Webhook { return Webhook{State: v.state, Version: 1} }

// bench drives a machine whose logs answer at once.
type bench struct {
	m      *Machine
	fx     Effects
	now    Time
	lanes  []*facts.LaneRecord
	keep   bool // lane records, to load them again
	landed int64
	facts  int64
}

func newBench(tb testing.TB, view View, cfg Config) *bench {
	tb.Helper()
	b := &bench{m: New(cfg, 0, "bench", view, func() float64 { return 0.5 }), now: Time{Mono: time.Hour, Wall: 1_700_000_000_000}}
	b.m.Heartbeat(b.now.Mono)
	b.m.Assigned(b.now, 1)
	b.m.Take(&b.fx)
	b.land(InitialCheckpoint(0, 0))
	b.m.Opened(b.now, LogLanes, 0, 1)
	b.m.Lanes(b.now, []LaneRead{{Record: b.lanes[0]}})
	for b.perform(); !b.m.Stats().Owner; {
		tb.Fatal("it does not become the owner")
	}
	return b
}

func (b *bench) land(r *facts.LaneRecord) int64 {
	at := b.landed
	b.landed++
	if b.keep || at == 0 {
		b.lanes = append(b.lanes, r)
	}
	return at
}

// perform lands and acknowledges everything that the machine wants appended.
func (b *bench) perform() {
	var reads []LaneRead
	for b.m.Take(&b.fx); !b.fx.Empty(); b.m.Take(&b.fx) {
		reads = reads[:0]
		for _, a := range b.fx.Lanes {
			reads = append(reads, LaneRead{Offset: b.land(a.Record), Record: a.Record})
		}
		for _, a := range b.fx.Attempts {
			b.facts++
			b.m.Appended(b.now, a.Token, b.facts-1)
		}
		for _, at := range b.fx.Loads {
			b.m.Loaded(b.now, at, b.lanes[at])
		}
		for _, s := range b.fx.Seeks {
			if s.Log != LogLanes {
				b.m.Opened(b.now, s.Log, 0, 0)
			}
		}
		b.m.Lanes(b.now, reads)
	}
}

func (b *bench) commands(from, n, hooks int, body []byte) []Command {
	list := make([]Command, n)
	for i := range list {
		at := from + i
		var d, h ids.ID
		binary.BigEndian.PutUint64(d[8:], uint64(at)*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint32(h[:], uint32(at%hooks)+1)
		list[i] = Command{Offset: int64(at), Record: &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Request{Request: &facts.DeliveryRequest{
			Subject: &facts.Subject{DeliveryId: d[:], WebhookId: h[:], Account: "acc", EventId: "evt", EventType: "export.ready"},
			Content: &facts.Content{Source: &facts.Source{Offset: int64(at)}, BodyHash: d[:]}, Body: body,
		}}}}
	}
	return list
}

// BenchmarkSuccess is the way of a request whose first try succeeds: request,
// send, result, append, acknowledgement; with a checkpoint each second of 10,000.
func BenchmarkSuccess(b *testing.B) {
	s := newBench(b, &openView{Active}, Defaults())
	const batch = 100
	result := Result{Outcome: facts.Outcome_OUTCOME_DELIVERED, StatusCode: 200, RequestSent: true}
	body := make([]byte, 512)
	lists := make([][]Command, 0, b.N/batch+1)
	for from := 0; from < b.N; from += batch {
		lists = append(lists, s.commands(from, batch, 1000, body))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, list := range lists {
		s.now.Mono += 10 * time.Millisecond
		s.now.Wall += 10
		s.m.Heartbeat(s.now.Mono)
		s.m.Deliveries(s.now, list, 0)
		s.perform()
		for _, x := range s.m.Start(s.now, batch) {
			s.m.Sent(s.now, x.AttemptID, result)
		}
		s.perform()
	}
	b.StopTimer()
	if n := s.m.Stats(); n.Low < int64(b.N) || n.Waiting+n.Undecided+n.InFlight > 0 {
		b.Fatalf("not settled: %+v", n)
	}
}

// BenchmarkWaiting writes requests of a paused webhook to `lanes` and says how
// much memory each takes while it waits.
func BenchmarkWaiting(b *testing.B) {
	s := newBench(b, &openView{Paused}, Defaults())
	const batch = 1000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	b.ResetTimer()
	for from := 0; from < b.N; from += batch {
		s.now.Mono += 10 * time.Millisecond
		s.m.Heartbeat(s.now.Mono)
		s.m.Deliveries(s.now, s.commands(from, batch, 10, nil), 0)
		s.perform()
		s.m.Start(s.now, batch)
		s.perform()
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	n := s.m.Stats().Waiting
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/waiting")
	runtime.KeepAlive(s)
}

// BenchmarkRelease resumes a webhook for which much waits: every one is
// loaded, sent, and deleted from `lanes`.
func BenchmarkRelease(b *testing.B) {
	view := &openView{Paused}
	s := newBench(b, view, Defaults())
	s.keep = true
	s.lanes = append(s.lanes, make([]*facts.LaneRecord, int(s.landed)-len(s.lanes))...)
	for from := 0; from < b.N; from += 1000 {
		s.m.Deliveries(s.now, s.commands(from, min(1000, b.N-from), 10, nil), 0)
		s.perform()
		s.m.Start(s.now, 1000)
		s.perform()
	}
	view.state = Active
	for i := range 10 {
		var h ids.ID
		binary.BigEndian.PutUint32(h[:], uint32(i)+1)
		s.m.WebhookChanged(s.now, h)
	}
	s.perform()
	result := Result{Outcome: facts.Outcome_OUTCOME_DELIVERED, StatusCode: 200, RequestSent: true}
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		s.now.Mono += time.Millisecond
		s.m.Heartbeat(s.now.Mono)
		for _, x := range s.m.Start(s.now, 512) {
			s.m.Sent(s.now, x.AttemptID, result)
			left--
		}
		s.m.Tick(s.now)
		s.perform()
	}
}
