package partition

import (
	"testing"
	"time"
)

// The cases of PROTOCOL.md, "What went wrong without each rule": each script
// keeps every promise with all rules, and breaks one without the rule it is about.

func TestCase01InFlightCoveredByCheckpoint(t *testing.T) {
	script := func(w *world, a, b, _ *proc) {
		w.publish()
		a.takes(0)                      // sent, in flight
		a.pass(400*time.Millisecond, 0) // a checkpoint covers it
		a.crash()
		w.buried(every)
		b.takes(0)
	}
	t.Run("bypass", func(t *testing.T) { holds(t, ruleUnfinishedBypass, script) })
	t.Run("inherit", func(t *testing.T) { holds(t, ruleInherit, script) })
}

func TestCase02OnlyTerminalFactsSettle(t *testing.T) {
	holds(t, ruleTerminalSettles, func(w *world, a, b, _ *proc) {
		w.publish()
		a.takes(0)
		a.run(0)
		a.m.Lost(a.time()) // its failure is a fact, and no lane record
		a.took()
		a.answer(bad)
		a.run(0)
		b.takes(0)
	})
}

func TestCase03FloorsPassNoOpenTransition(t *testing.T) {
	holds(t, ruleFloors, func(w *world, a, b, _ *proc) {
		w.waits(a)
		a.pass(650*time.Millisecond, 0) // the second try is in flight
		a.answer(ok)
		a.run(heldLanes)
		a.pass(400*time.Millisecond, heldLanes) // the fact is durable, the deletion and a checkpoint are not
		a.crash()
		w.buried(isCheckpoint)
		b.takes(0)
	})
}

func TestCase04RetryAppliedOnce(t *testing.T) {
	t.Run("upto", func(t *testing.T) {
		holds(t, ruleUpto, func(w *world, a, b, _ *proc) {
			w.waits(a)
			a.run(heldLanes) // no checkpoint comes after it
			w.ask()
			a.run(heldStart)
			a.crash()
			w.buried(none)
			b.takes(0)
		})
	})
	t.Run("absorb", func(t *testing.T) {
		holds(t, ruleAbsorb, func(w *world, a, b, c *proc) {
			w.publish()
			a.takes(0) // in flight
			b.takes(0) // and once more
			b.answer(bad)
			b.run(heldStart)
			w.ask()
			b.run(heldStart | heldReadAttempts) // applied
			a.answer(ok)                        // the zombie's success knows nothing of it
			a.run(heldReadLanes | heldReadDeliveries)
			b.crash()
			w.buried(none)
			c.takes(heldReadDeliveries) // closes the round and deletes its record
			c.run(0)
		})
	})
}

func TestCase05SettledAboveTheReadPosition(t *testing.T) {
	holds(t, ruleRememberSettled, func(w *world, a, b, _ *proc) {
		w.change(0, Paused)
		a.takes(0)
		w.publish()
		a.run(0) // its lane record settles it, and no checkpoint says so
		a.crash()
		w.buried(none)
		w.change(0, Active)
		b.takes(heldReadDeliveries)
		for len(b.flights) > 0 {
			b.answer(ok)
			b.run(heldReadDeliveries)
		}
		b.run(0)
	})
}

func TestCase06GivenUpIsOneFact(t *testing.T) {
	holds(t, ruleOneFact, func(w *world, a, b, _ *proc) {
		w.waits(a)
		for range w.cfg.Schedule[1:] {
			a.pass(1500*time.Millisecond, 0)
			a.answer(bad)
			a.run(0)
		}
		a.pass(1500*time.Millisecond, 0)
		a.answer(bad) // the last
		a.landFact()
		a.acknowledge()
		a.crash()
		w.buried(none)
		b.takes(0)
	})
}

func TestCase07CompletedFactKeepsItsID(t *testing.T) {
	holds(t, ruleAttemptID, func(w *world, a, b, _ *proc) {
		w.publish()
		a.takes(0)
		a.answer(bad)
		a.run(heldFacts) // its lane record is read back, its fact is on its way
		a.crash()
		b.takes(0)
		w.buried(every) // and lands late
		b.run(0)
	})
}

func TestCase08OwnerTailsAttempts(t *testing.T) {
	holds(t, ruleTail, func(w *world, a, b, _ *proc) {
		w.publish()
		a.takes(0)
		b.takes(0)
		b.answer(bad)
		b.run(0)
		a.answer(ok) // the zombie's success
		a.run(0)
		b.pass(time.Second, 0)
	})
}

func TestCase09LateClaimOfTheDead(t *testing.T) {
	holds(t, ruleNamesReplaced, func(w *world, a, b, _ *proc) {
		a.takes(0)
		b.takes(heldLanes) // claims
		b.crash()          // its claim is on its way
		a.takes(0)
		taken := a.m.takeovers
		w.buried(every)
		a.pass(300*time.Millisecond, 0)
		if a.m.takeovers != taken {
			w.fail("the claim of a dead process dethroned the living owner")
		}
	})
}

func TestCase10PausedProcessWakes(t *testing.T) {
	holds(t, ruleLease, func(w *world, a, b, _ *proc) {
		w.waits(a)
		a.pass(600*time.Millisecond, heldStart) // due, and about to start
		b.takes(0)
		b.answer(ok)
		b.run(0)
		a.begin(10)
	})
}

func TestCase11OldTruthOverNew(t *testing.T) {
	// Keys are made from a counter, so no two records share one; what is left
	// of the case is that a record of an older epoch, landing later, replaces nothing.
	holds(t, ruleEpochs, func(w *world, a, b, c *proc) {
		w.waits(a)
		a.pass(600*time.Millisecond, 0)
		a.answer(bad)
		a.run(heldLanes) // its record of two tries is on its way
		b.takes(0)       // sends the second again
		b.answer(bad)
		b.pass(1500*time.Millisecond, 0)
		b.answer(bad) // given up
		b.pass(time.Second, 0)
		for len(a.lanes) > 0 {
			a.landLane() // old truth
		}
		b.crash()
		w.buried(none)
		c.takes(0)
	})
}

func TestCase12ActOnReadBack(t *testing.T) {
	holds(t, ruleReadBack, func(w *world, a, b, _ *proc) {
		w.waits(a)
		a.pass(600*time.Millisecond, 0)
		a.answer(bad) // its second lane record is on its way
		b.takes(heldStart)
		a.run(heldReadLanes) // void, acknowledged, not read back
		b.run(heldStart)
	})
}

func TestCase13OrderOfTheTable(t *testing.T) {
	t.Run("fact before lane record", func(t *testing.T) {
		holds(t, ruleLaneFirst, func(w *world, a, b, _ *proc) {
			w.publish()
			a.takes(0)
			a.answer(bad)
			a.run(heldLanes) // only facts land
			a.crash()
			w.buried(none)
			b.takes(0)
		})
	})
	t.Run("deletion before fact", func(t *testing.T) {
		holds(t, ruleFactFirst, func(w *world, a, b, _ *proc) {
			w.waits(a)
			a.pass(600*time.Millisecond, 0)
			a.answer(ok)
			a.run(heldFacts) // only lane records land
			a.crash()
			w.buried(none)
			b.takes(0)
		})
	})
}

func TestCase15OrderIsTheOffsetInDeliveries(t *testing.T) {
	holds(t, ruleOrder, func(w *world, a, _, _ *proc) {
		w.pausedPair(a)
		a.cleanUntilCarried()
		for len(a.lanes) > 0 {
			a.landLane() // the older lies behind the younger now
		}
		a.m.cfg.CarryBatch = 0
		a.run(heldLanes)
		w.change(0, Active)
		a.run(heldLanes)
		a.run(heldLanes) // the notice of the change
	})
}

func TestCase16FrozenContent(t *testing.T) {
	holds(t, ruleFrozen, func(w *world, a, _, _ *proc) {
		w.waits(a)
		w.change(0, Active) // other metadata
		a.pass(600*time.Millisecond, 0)
	})
}
