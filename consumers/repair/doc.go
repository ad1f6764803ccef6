// Package repair examines a log that no server can go on from, says what it
// found and what is known of what is missing, and mends it on the record.
//
// It promises:
//   - Examine reads and writes nothing.
//   - Nothing is used again: where a partition ends before what commits,
//     checkpoints, facts or the history know of it, it is brought to that end
//     before anything new can take those offsets. What the history has of a lost
//     record of `events` or `attempts` is appended again at the offset that it
//     had; for every other there is a record that says so: who, when, what.
//   - Nothing that log, lanes or history still know is dropped: a delivery that
//     the history has as open and no log knows is asked for again; events that
//     were trimmed before they were routed are published again from the history.
//   - What it did is a fact in `config`, begun before and answered after it.
//   - It may be interrupted anywhere and run again.
//
// It never trims, never changes a record that is there, and never takes the
// place of a process that lives: whoever calls Mend holds the data folder, or
// has seen that the groups have no members.
//
// # What it can't
//
// A gap in the middle of a partition, `config` whose beginning is gone, and a
// history that was made from another topic are named, with what helps: a backup,
// or `hookledger rebuild`. Secrets are in `config` only: of webhooks whose facts
// were lost the history knows everything but those, so they are named and not
// made again. A request that was lost together with its offset, and that the
// history had not read, can't be told from one that never was.
//
// # Decisions
//
// Padding a partition, over beginning again at its end: offsets are identities
// here (of events in the sources map, of rounds, of rows), so the one thing that
// would be worse than a loss is another record under the same name.
//
// A missing commit of the router is set by `event-ids`: what lies there was
// appended after everything up to it was routed. The newest minute of it is not
// believed, because it may have reached the disk before what it speaks of; what
// is routed again is dropped by the sources map.
package repair
