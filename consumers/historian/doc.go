// Package historian writes the history: it reads config, events, deliveries,
// attempts and dead-letters, and puts every record into ClickHouse as the rows
// that projections/history folds from it.
//
// # It promises
//
//   - What was appended to the log is in ClickHouse within a second while the
//     machine is idle, and within about two under load.
//   - Killed anywhere, run twice, or started again from the beginning of the log,
//     it leaves the same answers: rows are functions of their records, and what
//     it adds up (attempts_hourly) is computed anew from rows.
//   - A place, once in ClickHouse, covers: every record below it has its rows there.
//   - Nothing is written that the log could still lose: each batch waits for the
//     shared sync of what was read. And nothing is let go from the log that the
//     history could still lose: places are shown after [Options.Sync].
//   - A record that can't be understood goes to the dead letters, as it is, is
//     counted (and of attempts and events has a row that says so), and reading
//     goes on. A bad event is the router's to copy there. A record of config that
//     can't be understood ends Run: the audit trail is never guessed.
//   - A gap, a log that ends before its place or begins after it, and a place of
//     another topic are damage: Run ends with a [DamageError], loudly.
//   - ClickHouse being away is waited out, for ever, with bounded pauses. Nothing
//     else waits for the historian.
//
// # It never
//
// holds more than [Options.MaxBytes] of records and their rows (and what the
// reader has fetched ahead), inserts into a table more than once a second at
// load, or decides anything by the clock but when to insert.
//
// # How
//
// One goroutine: poll, fold, and when a batch is due: sync, insert (attempts,
// events and changes together, then the states), append the places, recompute
// the hours of attempts_hourly that were touched. Inserting takes some ten
// milliseconds a second, so reading meanwhile would gain little and cost a
// second batch of memory.
//
// A batch is due a tenth of a second after its first record if the last seconds
// were quiet, else a second after the last one, or when it is full. The quiet is
// a bucket of three inserts that fills by one a second: what trickles in after a
// publish (the request, the attempt) is seen at once, a steady load pays for one
// insert a second. A small batch takes three fifths of a token, so that one who
// publishes, looks and publishes again waits less than a second each time.
//
// The reader is polled at intervals while records trickle in: at low rates a
// wake-up for each record would be most of the cost.
//
// # Decisions
//
// The sources map of each partition of deliveries (see history.Sources) lies in
// its place, because deliveries is trimmed and can't be read again from the
// start. The verdicts in config_changes need the fold of all of config, which is
// never trimmed: so config is folded from its beginning at every start, in
// memory of its own rather than shared with the node's subscriptions, which are
// at another offset.
//
// The hours that attempts_hourly is owed lie in the places too: a crash between
// insert and recomputation is mended at the next start. Recomputing takes a
// tenth of the time at most, so under load it may be some seconds behind.
//
// Without a place a partition is read from the log's start. Deliveries may have
// been trimmed then: what was not yet tried appears with its first fact.
//
// Several historians at once are right and wasteful: each writes everything.
package historian
