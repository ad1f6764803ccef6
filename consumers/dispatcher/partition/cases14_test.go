package partition

import (
	"testing"
	"time"
)

// Case 14: everything about the log of `lanes` being short.

func TestCase14OnlyAnEndDeletes(t *testing.T) {
	holds(t, ruleReplaces, func(w *world, a, b, c *proc) {
		w.waits(a)
		a.pass(600*time.Millisecond, 0)
		a.answer(bad)
		for len(a.lanes) > 0 {
			a.landLane() // the second record replaces the first,
		}
		a.run(heldLanes) // and a deletion of the first would be on its way
		a.crash()
		w.buried(none)
		b.takes(0)
		b.answer(ok)
		b.pass(400*time.Millisecond, 0) // the second has ended, and a checkpoint knows
		b.crash()
		w.buried(none)
		c.takes(0)
	})
}

func TestCase14ReplacedRecordsAreCompleted(t *testing.T) {
	holds(t, ruleCompleteReplaced, func(w *world, a, b, c *proc) {
		w.publish()
		a.takes(0)
		a.answer(bad)
		b.takes(heldLanes)
		b.landLane() // has claimed
		a.landLane() // void, with the attempt inside
		a.crash()
		b.crash() // before it read that
		w.buried(none)
		c.takes(0)
	})
}

func TestCase14CarriedCountsWhenReadBack(t *testing.T) {
	holds(t, ruleCarriedReadBack, func(w *world, a, b, _ *proc) {
		w.pausedPair(a)
		a.cleanUntilCarried()
		a.tick()
		for _, trim := range w.trims {
			w.trim(trim)
		}
		w.trims = nil
		a.crash() // the copy is lost
		w.buried(none)
		b.takes(0)
	})
}

func TestCase14ReadersNeverSkip(t *testing.T) {
	holds(t, ruleNeverSkip, func(w *world, a, b, _ *proc) {
		w.waits(a)
		a.pass(600*time.Millisecond, 0) // the second try is in flight
		w.now += modelSession
		w.assign(b)
		b.hear()
		b.open()
		for range w.lanes { // it has read the waiting record, and not claimed
			b.read(LogLanes, 1)
		}
		a.answer(ok)
		for range 20 { // the record, its deletion, and the fact fall below every floor
			a.w.now += 100 * time.Millisecond
			a.run(0)
		}
		for _, trim := range w.trims {
			w.trim(trim)
		}
		w.trims = nil
		a.crash()
		w.buried(none)
		b.run(0)
		if b.m.t.ix.n != 0 {
			w.fail("a reader that skipped holds what has ended")
		}
	})
}

func TestCase14TrimRespectsTheCheckpoint(t *testing.T) {
	holds(t, ruleTrimBound, func(w *world, a, b, _ *proc) {
		w.publish()
		a.takes(0)
		a.answer(ok)
		a.pass(2*time.Second, 0)
		for _, trim := range w.trims {
			w.trim(trim)
		}
		w.trims = nil
		a.crash()
		w.buried(none)
		b.takes(0)
	})
}

func TestCase14NamedAnewClaimsAnew(t *testing.T) {
	holds(t, ruleNamedAnew, func(w *world, a, b, _ *proc) {
		w.waits(a)
		a.pass(600*time.Millisecond, heldStart)
		b.takes(heldLanes) // claims
		b.crash()
		w.assign(a) // gets it back
		a.run(heldStart)
		w.buried(every) // the other's claim lands late
		a.begin(10)
	})
}

func TestCase14LaneWaitsForWhatIsCarried(t *testing.T) {
	holds(t, ruleCarryHolds, func(w *world, a, _, _ *proc) {
		w.pausedPair(a)
		w.publish()
		a.pass(200*time.Millisecond, 0)
		a.cleanUntilCarried()
		w.change(0, Active)
		a.run(heldLanes)
		a.run(heldLanes) // the notice of the change
	})
}

func TestRetryNamesWhatItSaw(t *testing.T) {
	holds(t, ruleEnds, func(w *world, a, _, _ *proc) {
		w.waits(a)
		for range w.cfg.Schedule {
			a.pass(1500*time.Millisecond, 0)
			a.answer(bad)
			a.run(0)
		}
		// Two customers press the button; the first delivers.
		w.decideRetry(w.judge.order[0].id)
		w.decideRetry(w.judge.order[0].id)
		w.appendRetry(0)
		a.run(0)
		a.answer(ok)
		a.run(0)
		w.appendRetry(0)
		a.run(0)
	})
}

func TestRepeatsAreMarked(t *testing.T) {
	holds(t, ruleMarks, func(w *world, a, b, _ *proc) {
		w.publish()
		a.takes(0)
		a.crash()
		w.buried(every)
		b.takes(0)
	})
}

func TestNothingStartsAfterAPause(t *testing.T) {
	holds(t, ruleBarrierView, func(w *world, a, _, _ *proc) {
		w.waits(a)
		a.pass(600*time.Millisecond, heldStart)
		w.change(0, Paused)
		a.run(0)
	})
}
