// Package partition is the dispatcher's protocol for one partition number of
// `deliveries`, `lanes` and `attempts`, as a pure state machine: records and
// time go in, appends and sends come out. It holds no goroutine, no clock, no
// connection and no randomness but what it is given, so that the model test
// runs this very code through crashes, zombies and lost acknowledgements.
//
// # What it promises
//
//  1. Every accepted (event, webhook) reaches exactly one end per round:
//     delivered, given up or cancelled.
//  2. Every try is one attempt fact, and there is no fact without a try.
//  3. The same attempt is sent again only if it could have been in flight when
//     a process crashed or lost the partition; the repeat says maybe_repeat.
//  4. After a pause or a delete was applied nothing starts; what was held is
//     sent after resume, in the order of `deliveries`.
//  5. A fresh reader of `lanes` and `attempts` has the idle owner's state, and
//     `lanes` holds nothing for what has ended.
//
// # What it never does
//
// It never acts on the acknowledgement of an append to `lanes`, only on its
// read-back; never sends out of anything but Start; never forgets an outcome,
// also after it lost the partition; never begins afresh when a log is damaged:
// Err then says so and names `hookledger repair`.
//
// # How it is driven
//
// One goroutine owns a Machine; no method may be called concurrently. The loop:
//
//	m.Assigned(now, generation)            // the group named this node
//	for {
//	    m.Take(&effects)                   // after every batch of inputs
//	    ... perform them: append, seek, load, trim, disable
//	    if err := m.Err(); err != nil { stop this partition, say it loudly }
//	    if m.Ready(now) {
//	        ... pass the config barrier (other inputs may go in meanwhile)
//	        for _, s := range m.Start(now, slots) { go send(s) }
//	    }
//	    wait for: a record, an acknowledgement, a result, a loaded record, an
//	    answered heartbeat, a changed webhook, or m.NextWake()
//	    ... feed it, with the current time
//	}
//
// Inputs, and what answers what:
//
//	Seek{Log, From} (effect)  → drop every reader of that log, ask the leader
//	    for its start and end, then call Opened once, then feed Lanes, Attempts
//	    or Deliveries from From (or from the log's start, if From is
//	    FromStart), gapless, each record once. A reader that is told "out of
//	    range" calls LogStart. Records of an older reader must not be fed after
//	    the Seek was taken.
//	LaneAppend, FactAppend    → Appended or AppendFailed, by token. Appends of
//	    one log are produced in the order given, through an idempotent producer.
//	Load                      → Loaded or LoadFailed, by offset.
//	Send                      → exactly one of Sent or Unsent, by attempt id.
//	Trim, Disable             → nothing. Both may be lost; both are said again.
//
// A record is to be fed only when it is synced, as for every stage. A command
// of `deliveries` that could not be decoded is fed with a nil record, after it
// went to the dead letters; it is settled by that.
//
// The lease: Heartbeat takes the time at which an answered heartbeat was sent,
// and only answers without an error code count (a rebalance in progress is
// one). It is fed behind Lost and Assigned of what the group had said before it
// was sent: an answer to the next membership says nothing of this tenure. The moment at which the group named this node counts as one too: call
// Heartbeat with it before Assigned, or the claim waits for the next. Nothing
// starts, and nothing is decided without a try, when the last heartbeat, or the
// last checkpoint read back (by the time it was made), is older than
// Config.Lease, which must be less than the group's session timeout.
//
// Backpressure: stop fetching `deliveries` while Undecided is at
// Config.MaxUndecided or Waiting is above the operator's --max-waiting. Offer
// Start Config.StartBatch slots; fewer says that the node has no more, and what
// finds none is written to `lanes`, so that fetching never stops for a receiver.
//
// # What was decided, over what
//
//   - Every failure is retried, whatever its kind: a 404, a refused address or a
//     bad certificate can be mended while the schedule runs. A try that a drain
//     cut is a fact, interrupted; the next owner makes the next at once, and the
//     schedule does not count it. The schedule is judged at a failure: the round
//     is given up when the next try would lie beyond Config.GiveUpAfter.
//   - A retry by hand of what a pause holds is applied, and stays held: it is due
//     at resume. It opens a lane that a receiver's Retry-After has closed. A new
//     round is not announced by a fact: the command in `deliveries` says it. See judge.
//   - An idle partition writes nothing. Checkpoints go on for Config.IdleAfter
//     after the last change, and the first work after that waits for one, over a
//     checkpoint a second for ever on every partition of every node.
//   - Ends without a try (cancelled, held for too long, content gone) and refused
//     retries need the lease as tries do. In `attempts` nothing makes a zombie's
//     word void, and one that slept through a resume would give up what lives.
//   - An assignment is believed, and a claim made, only beside a heartbeat within
//     the lease. A log that starts above what the newest checkpoint needs is
//     damage only when it still does after everything was read again.
//   - Nothing that `lanes` held at the claim is sent before `deliveries` was read
//     past it: something older may be unsettled there. So a takeover keeps the order.
//   - What this process itself has in flight from an epoch that it lost is not
//     sent again before its result is there, though it might be.
//   - At a takeover, what is due within Config.ClockSkew counts as due, because
//     another clock said so. A clean checkpoint, the last word of a drain, spares
//     its successor all marks.
//   - A breaker that is open delays a delivery's next try beyond what its last
//     fact says; the schedule is counted in tries, so a delay costs none. What is
//     probed with is the oldest that is due but the last one probed with, over one
//     at random: so nothing overtakes what was never tried.
//   - Health is written with the checkpoints, not with every failure: a crash
//     may forget its last second, which costs a try.
//   - A deletion names the offset of the record that ends, not its key: the index
//     keeps offsets. It takes 80 bytes an entry, and about 100 with its places in
//     table, heap and list of live records (BenchmarkWaiting).
//
// # Ending
//
// Lost stops everything at once; what is in flight still becomes facts in
// `attempts`. Drain is the graceful way: nothing more starts, results are
// settled, a last checkpoint is written; Drained tells when. After Lost the
// machine is done with when Finished reports true; until then keep feeding
// Sent and Appended. Assigned may be called again at any time.
package partition
