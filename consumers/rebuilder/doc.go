// Package rebuilder makes the history again from the log, beside the live one,
// and switches to it.
//
// # It promises
//
//   - Answers are the same before, during and after, and none is missing: the live
//     history is read and written as ever until the new one has all that it has.
//   - It ends with one history live, however it ends. Killed before the switch, the
//     old one is live and what is half made is removed by the next run (or with
//     --clean); killed after it, the new one is live and nothing is left to do.
//   - The new history goes live only after [verifier.Verify] found it equal to the log.
//   - What the log no longer holds is carried over from the live history, and named,
//     with how much and how old it is. It can't be verified.
//   - One at a time on one ClickHouse, wherever it runs: the others are refused.
//
// # It never
//
// writes to the log, commits for a group, changes the live history, or fills the
// disk: it begins only with room for a second history, and gives up when the disk
// is nearly full.
//
// # The switch
//
//  1. Fill: every partition is read to the end that it had (historian.Fill).
//  2. Tail: a historian of its own keeps the new history current from then on.
//  3. Verify, against the log, with the tail running.
//  4. Once the new history has all that the live one has, a row in `generations`
//     says that it is live (history.Lease.GoLive). The row is written only if the
//     lease of this rebuild holds at that moment, by the clock of ClickHouse.
//  5. Each node asks that table every second. Historians write both histories until
//     the new one has all that the old one has, then the new one alone. Readers hold
//     their questions for a moment, see that the new one has all that the old one
//     has, and ask it from then on. The views for auditors are pointed at it.
//  6. The tail goes on for a few seconds, so that nobody finds it behind. Nothing
//     depends on that: any historian goes on from the places in the new history.
//
// Until a historian has gone over, nothing is trimmed from deliveries that the new
// history has yet to read (history.StillRead).
//
// # Decisions
//
// What is half made is removed rather than resumed: resuming must trust rows that
// perhaps another version of the program wrote, and saves time only after a crash
// of a rebuild, which is rare.
//
// The old history is kept until --drop-old or --clean, or until the next rebuild
// begins: it is the only thing to look at when the new one is doubted. It takes its
// room on the disk until then.
package rebuilder
