// Package dispatcher carries out deliveries: it drives the state machine of
// package partition with the real log, the real clock and the real network.
//
// For each partition that the group gives this node, one goroutine (a worker)
// owns one machine. Everything reaches it through its mailbox: records of
// `deliveries`, `lanes` and `attempts`, acknowledgements, results of tries,
// answered heartbeats, changed webhooks. What the machine wants done comes back
// as effects. So all decisions are made by code that the model test runs, and
// this package decides nothing but how bytes move.
//
// Promises beside those of the protocol:
//   - Records are fed only when they are synced (ledger.Synced).
//   - The barrier on `config` is passed right before every batch of sends, and
//     URL and secrets are read right after it.
//   - At most MaxInFlight tries are under way on the node, and MaxSlow more of
//     those that are slow. The bodies that had to be made again share one budget
//     of bytes; a body that finds no room comes back a second later. So no
//     customer blocks another.
//   - A partition that finds its log damaged stops, says so in the log and in
//     readiness, and leaves the others alone.
//   - Run drains: what is in flight gets DrainFor, then is cut and becomes a
//     fact as interrupted; checkpoints are written before it returns.
//
// It never reads over a gap, never sends outside the machine's Start, and never
// drops an outcome.
package dispatcher
