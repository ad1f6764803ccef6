package partition

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

func TestDrainHandsOverCleanly(t *testing.T) {
	r := newRig(t).own().request(0, 0).request(0, 1).request(0, 2).flying(3)
	r.answer(failure)
	r.m.Drain(r.now)
	r.pump().request(0, 3).flying(2) // nothing starts any more
	if r.m.Drained() {
		t.Fatal("drained with tries in flight")
	}
	r.answer(success)
	r.answer(Result{Outcome: facts.Outcome_OUTCOME_INTERRUPTED, RequestSent: true})
	if !r.m.Drained() {
		t.Fatal("not drained with nothing in flight")
	}
	if c := r.lanes[len(r.lanes)-1].GetCheckpoint(); !c.GetClean() {
		t.Fatalf("the last word is %v", r.lanes[len(r.lanes)-1])
	}
	r.m.Lost(r.now)
	if !r.m.Finished() {
		t.Fatal("not finished")
	}
	r.own().flying(2) // the interrupted one at once, and the new one
	for _, s := range r.flights {
		if s.MaybeRepeat {
			t.Fatalf("a drained owner leaves no repeats: %+v", s)
		}
	}
	if r.flights[0].Number != 2 {
		t.Fatalf("the interrupted try is a fact: number %d", r.flights[0].Number)
	}
}

func TestCrashMarksRepeats(t *testing.T) {
	r := newRig(t)
	r.cfg.ClockSkew = time.Second
	r.own().request(0, 0).request(1, 1).answer(failure)
	r.own().flying(1)
	if !r.flights[0].MaybeRepeat {
		t.Fatal("the try in flight at the crash is not marked")
	}
	r.flights = nil
	if r.until(); r.flights[0].MaybeRepeat {
		t.Fatal("what was not due at the crash is marked")
	}
}

func TestUncleanStopMarksAll(t *testing.T) {
	r := newRig(t)
	r.own().set(0, Paused).request(0, 0).request(1, 1)
	r.answer(failure).pass(2 * time.Second)
	r.m = New(r.cfg, 0, "rig", r, func() float64 { return 0.5 })
	r.m.UncleanStop()
	r.assign().set(0, Active)
	r.pass(time.Hour).flying(2)
	for _, s := range r.flights {
		if !s.MaybeRepeat {
			t.Fatalf("not marked: %+v", s)
		}
	}
}

func TestOwnTriesOfALostEpochAreWaitedFor(t *testing.T) {
	r := newRig(t).own().request(0, 0).request(0, 1).flying(2)
	flights := r.flights
	r.assign().flying(0) // claimed anew: what this process has in flight is not sent again
	r.flights = flights
	r.answer(success).flying(1).lastIs(attemptFact, facts.End_END_DELIVERED, 0)
	r.answer(failure).flying(1)
	if s := r.flights[0]; !s.MaybeRepeat || s.Number != 1 {
		t.Fatalf("after its failure: %+v", s)
	}
}

func TestDamageAsksForRepair(t *testing.T) {
	damaged := func(name string, harm func(r *rig)) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).own().request(0, 0).request(1, 1).answer(failure).pass(3 * time.Second)
			harm(r)
			r.own().pass(time.Minute)
			err := r.m.Err()
			var damage *DamageError
			if !errors.Is(err, ErrDamaged) || !errors.As(err, &damage) || !strings.Contains(err.Error(), "hookledger repair") {
				t.Fatalf("the error is %v", err)
			}
			if r.m.Ready(r.now) || r.m.Stats().Owner {
				t.Fatal("it works on")
			}
			t.Log(err)
		})
	}
	keep := func(list []*facts.LaneRecord, drop func(*facts.LaneRecord) bool) (kept []*facts.LaneRecord) {
		for _, l := range list {
			if !drop(l) {
				kept = append(kept, l)
			}
		}
		return kept
	}
	damaged("no checkpoint", func(r *rig) {
		r.lanes = keep(r.lanes, func(l *facts.LaneRecord) bool { return l.GetCheckpoint() != nil })
	})
	damaged("deliveries end early", func(r *rig) { r.deliveries = r.deliveries[:1] })
	damaged("attempts end early", func(r *rig) { r.attempts = nil })
	damaged("lanes empty", func(r *rig) { r.lanes = nil })
}

func TestLogsThatStartTooHighAreReadAnewFirst(t *testing.T) {
	for _, log := range []Log{LogDeliveries, LogAttempts} {
		r := newRig(t).own().request(0, 0)
		r.m = New(r.cfg, 0, "rig", r, func() float64 { return 0.5 })
		r.m.Assigned(r.now, 9)
		seeks := 0
		for range 20 {
			r.now.Mono += time.Second
			r.m.Heartbeat(r.now.Mono)
			r.m.Tick(r.now)
			r.m.Take(&r.fx)
			for _, a := range r.fx.Lanes {
				r.lanes = append(r.lanes, a.Record)
			}
			for _, s := range r.fx.Seeks {
				if s.Log == log {
					seeks++
					r.m.Opened(r.now, s.Log, 1, 1)
					continue
				}
				r.m.Opened(r.now, s.Log, 0, int64([]int{len(r.deliveries), len(r.lanes), len(r.attempts)}[s.Log]))
				r.next[s.Log] = 0
			}
			for ; r.next[LogLanes] < int64(len(r.lanes)); r.next[LogLanes]++ {
				r.m.Lanes(r.now, []LaneRead{{r.next[LogLanes], r.lanes[r.next[LogLanes]]}})
			}
		}
		if seeks != 2 || !errors.Is(r.m.Err(), ErrDamaged) {
			t.Fatalf("%v: after %d looks: %v", log, seeks, r.m.Err())
		}
	}
}

func TestOwnNamesItsFacts(t *testing.T) {
	r := newRig(t).own().request(0, 0).answer(success)
	mine, err := proto.Marshal(r.last())
	if err != nil {
		t.Fatal(err)
	}
	if !r.m.Own(mine) || r.m.Own(nil) || r.m.Own(mine[:10]) {
		t.Fatal("it does not know its own facts")
	}
	if r.own(); r.m.Own(mine) {
		t.Fatal("the facts of an earlier epoch are not its own")
	}
}

func TestIdlePartitionStopsWriting(t *testing.T) {
	r := newRig(t).own().request(0, 0).answer(success).pass(2 * time.Minute)
	n := len(r.lanes)
	r.pass(24 * time.Hour)
	if len(r.lanes) != n {
		t.Fatalf("an idle partition wrote %d records in a day", len(r.lanes)-n)
	}
	r.request(0, 1).flying(1) // the first work after it waits for one checkpoint only
	if len(r.lanes) != n+1 {
		t.Fatalf("%d records before the first try", len(r.lanes)-n)
	}
}
