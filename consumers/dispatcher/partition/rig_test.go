package partition

import (
	"testing"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// rig is a machine over logs that answer at once, with a clock that a test sets.
type rig struct {
	t          *testing.T
	m          *Machine
	cfg        Config
	now        Time
	hooks      map[ids.ID]Webhook
	fx         Effects
	lanes      []*facts.LaneRecord
	attempts   []*facts.AttemptFact
	deliveries []*facts.DeliveryCommand
	next       [3]int64
	open       [3]bool
	flights    []Send
	slots      int
	disables   []Disable
	generation int32
}

func newRig(t *testing.T) *rig {
	r := &rig{
		t: t, cfg: Defaults(), now: Time{Mono: 1000 * time.Hour, Wall: 1_700_000_000_000}, hooks: make(map[ids.ID]Webhook),
		lanes: []*facts.LaneRecord{InitialCheckpoint(0, 0)}, slots: 100,
	}
	for i := range 4 {
		r.hooks[hookID(i)] = Webhook{State: Active, Version: 1}
	}
	return r
}

// Webhook implements View.
func (r *rig) Webhook(id ids.ID) Webhook { return r.hooks[id] }

// own lets a new process take over.
func (r *rig) own() *rig {
	r.m = New(r.cfg, 0, "rig", r, func() float64 { return 0.5 })
	return r.assign()
}

func (r *rig) assign() *rig {
	r.flights = nil
	r.generation++
	r.m.Assigned(r.now, r.generation)
	return r.pump()
}

// pump does all I/O and starts what may start; results are the test's.
func (r *rig) pump() *rig {
	r.m.Heartbeat(r.now.Mono)
	for range 10000 {
		r.m.Tick(r.now)
		r.m.Take(&r.fx)
		busy := !r.fx.Empty()
		for _, s := range r.fx.Seeks {
			ends := [3]int64{LogDeliveries: int64(len(r.deliveries)), LogLanes: int64(len(r.lanes)), LogAttempts: int64(len(r.attempts))}
			r.open[s.Log], r.next[s.Log] = true, max(s.From, 0)
			r.m.Opened(r.now, s.Log, 0, ends[s.Log])
		}
		for _, a := range r.fx.Lanes {
			r.lanes = append(r.lanes, a.Record)
			r.m.Appended(r.now, a.Token, int64(len(r.lanes)-1))
		}
		for _, a := range r.fx.Attempts {
			r.attempts = append(r.attempts, a.Fact)
			r.m.Appended(r.now, a.Token, int64(len(r.attempts)-1))
		}
		for _, at := range r.fx.Loads {
			r.m.Loaded(r.now, at, r.lanes[at])
		}
		r.disables = append(r.disables, r.fx.Disables...)
		for ; r.open[LogLanes] && r.next[LogLanes] < int64(len(r.lanes)); r.next[LogLanes]++ {
			busy = true
			r.m.Lanes(r.now, []LaneRead{{r.next[LogLanes], r.lanes[r.next[LogLanes]]}})
		}
		for ; r.open[LogAttempts] && r.next[LogAttempts] < int64(len(r.attempts)); r.next[LogAttempts]++ {
			busy = true
			r.m.Attempts(r.now, []FactRead{{r.next[LogAttempts], r.attempts[r.next[LogAttempts]]}})
		}
		for ; r.open[LogDeliveries] && r.m.Stats().Owner && r.next[LogDeliveries] < int64(len(r.deliveries)); r.next[LogDeliveries]++ {
			busy = true
			r.m.Deliveries(r.now, []Command{{r.next[LogDeliveries], r.deliveries[r.next[LogDeliveries]]}}, int64(len(r.deliveries)))
		}
		if r.m.Ready(r.now) {
			sends := r.m.Start(r.now, max(r.slots-len(r.flights), 0))
			r.flights = append(r.flights, sends...)
			busy = busy || len(sends) > 0
		}
		if !busy {
			return r
		}
	}
	r.t.Fatal("it does not come to rest")
	return r
}

// pass lets time pass, waking the machine when it wants to be.
func (r *rig) pass(d time.Duration) *rig {
	for end := r.now.Mono + d; ; {
		at, ok := r.m.NextWake()
		step := end - r.now.Mono
		if ok {
			step = min(step, max(at-r.now.Mono, 100*time.Millisecond))
		}
		r.now.Mono += step
		r.now.Wall += step.Milliseconds()
		r.pump()
		if r.now.Mono >= end {
			return r
		}
	}
}

// until lets time pass until something is in flight, and says how long it took.
func (r *rig) until() time.Duration {
	r.t.Helper()
	from := r.now.Mono
	for len(r.flights) == 0 {
		if r.now.Mono-from > 30*24*time.Hour {
			r.t.Fatal("nothing is sent in a month")
		}
		at, ok := r.m.NextWake()
		if !ok {
			r.t.Fatal("nothing is sent, and nothing will be")
		}
		r.pass(max(at-r.now.Mono, time.Millisecond))
	}
	return r.now.Mono - from
}

func (r *rig) answer(x Result) *rig {
	s := r.flights[0]
	r.flights = r.flights[1:]
	x.StartedMs = r.now.Wall
	r.m.Sent(r.now, s.AttemptID, x)
	return r.pump()
}

func (r *rig) request(webhook, n int) *rig {
	h := hookID(webhook)
	d := deliveryID(0, n, &hook{id: h})
	r.deliveries = append(r.deliveries, &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Request{Request: &facts.DeliveryRequest{
		Subject: &facts.Subject{DeliveryId: d[:], WebhookId: h[:], Account: "a"},
		Content: &facts.Content{Source: &facts.Source{Offset: int64(n)}}, Body: []byte("body"),
	}}})
	return r.pump()
}

func (r *rig) retry(webhook, n int, round uint64, ended bool, attempts uint32) *rig {
	h := hookID(webhook)
	d := deliveryID(0, n, &hook{id: h})
	r.deliveries = append(r.deliveries, &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Retry{Retry: &facts.DeliveryRetry{
		Subject: &facts.Subject{DeliveryId: d[:], WebhookId: h[:], Account: "a"},
		Content: &facts.Content{Source: &facts.Source{Offset: int64(n)}}, Round: round, Ended: ended, Attempts: attempts,
	}}})
	return r.pump()
}

func (r *rig) set(webhook int, s State) *rig {
	h := hookID(webhook)
	r.hooks[h] = Webhook{State: s, Version: r.hooks[h].Version + 1, Since: r.now.Wall}
	r.m.WebhookChanged(r.now, h)
	return r.pump()
}

// last is the newest fact.
func (r *rig) last() *facts.AttemptFact { return r.attempts[len(r.attempts)-1] }

func (r *rig) flying(n int) *rig {
	r.t.Helper()
	if len(r.flights) != n {
		r.t.Fatalf("%d tries in flight, want %d", len(r.flights), n)
	}
	return r
}

func (r *rig) lastIs(kind facts.FactKind, end facts.End, reason facts.EndReason) *rig {
	r.t.Helper()
	if f := r.last(); f.GetKind() != kind || f.GetEnd() != end || f.GetEndReason() != reason {
		r.t.Fatalf("the newest fact is %v, %v, %v; want %v, %v, %v", f.GetKind(), f.GetEnd(), f.GetEndReason(), kind, end, reason)
	}
	return r
}

var (
	success = Result{Outcome: ok, StatusCode: 200, RequestSent: true}
	failure = Result{Outcome: bad, StatusCode: 500, RequestSent: true}
	timeout = Result{Outcome: slow, RequestSent: true}
)
