// Package history is what the log means in ClickHouse: every attempt, event and
// change of configuration as a row, the state of every delivery, and the
// questions that the API asks of them.
//
// Promises:
//   - A row is a pure function of its record ([FoldAttempt], [FoldRequest],
//     [FoldEvent], [FoldDeadLetter], [FoldConfig]), so that writing rows again, twice at
//     once, or in another order changes no answer.
//   - A state row is complete and versioned by what the log says (is it a fact,
//     round, end, attempt, upto, ...; see 0002_deliveries.sql), never by arrival.
//   - Every question is bounded by its context and by max_execution_time.
//
// It never writes to the log, and it never counts or sums at insert time:
// attempts_hourly is computed anew from the rows.
//
// # For the API
//
//	h, err := history.Open(ctx, history.Options{DSN: dsn})
//	h.Apply(ctx)                                 // migrations; Check(ctx) only looks
//	h.ApplyViews(ctx)                            // the views for auditors, over this history from now on
//	h.Delivery(ctx, account, id)                 // *Delivery with Attempts and Last; ErrNotFound
//	h.Deliveries(ctx, account, webhook, Page{})  // newest first; next cursor
//	h.Attempts(ctx, delivery)                    // its tries and other facts, in order
//	h.Payload(ctx, delivery)                     // the body that is sent, checked against its hash; ErrPayloadExpired
//	h.Event(ctx, account, id, orderingKey)       // the newest accepted record of that id
//	h.EventDeliveries(ctx, event, Page{})        // in order of delivery id
//	h.Stats(ctx, account, webhooks...)           // failure_count, last success and failure
//	h.WaitCovered(ctx, ledger.Attempts, ends)    // until all below those offsets is in the tables
//
// # Decisions
//
// The state of a delivery comes from facts of `attempts`, and until the first
// fact from its request in `deliveries`; a retry asked for by hand changes
// nothing until the dispatcher's fact says so. A request counts only if the
// reader of `deliveries` accepts it, by the same rule of sources that the
// dispatcher has ([Sources]): what the router wrote again under newer
// subscriptions is never delivered, and must not stay pending for ever.
//
// What the last try returned is read from attempts, not kept in the state row:
// facts that are no try (a retry by hand, a cancellation) don't carry it.
//
// Ids are compared as FixedString(16) constants written in hex, and so is all
// text from outside: nothing needs quoting, and both protocols of the driver
// treat it alike.
//
// A repeat of an event is judged by the router, which writes nothing about a
// repeat with the same content. So the row says accepted, and the reader of an
// event folds the rows of one identity ([Event]); a repeat with other content, and
// an event that is none, are rows that say so, with the reason.
package history
