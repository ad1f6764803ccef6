// Package router turns events into delivery requests: it reads `events`, asks
// the subscriptions which webhooks each event goes to, and appends one request
// per webhook to `deliveries`.
//
// # It promises
//
//   - Every event record whose offset is committed has one request for each
//     webhook that matched it, or is a repeat, or is a dead letter. None is lost.
//   - Its outputs name their source (partition and offset of the event), and for
//     each partition of `events` they are appended in order of (offset, webhook).
//     The reader of `deliveries` keeps the greatest that it accepted per source
//     partition and drops what is not greater; so crashes, zombies and reading
//     again double nothing either.
//   - An event is matched after the barrier: what `config` held when the event
//     was fetched has been applied.
//   - What is derived from an event depends on nothing but the log: the same
//     record always has the same delivery ids and, for the same webhooks, the
//     same bytes.
//   - A client-given id that comes again within 24 hours of record time is one
//     event: with the same content it is dropped and counted, with another it is
//     a dead letter that names the first.
//   - A record that is no event goes to the dead letters with the reason, and
//     reading goes on.
//
// # It never
//
// acts on what is not synced, commits what is not acknowledged and synced, starts
// anywhere but at a commit ([RepairError] otherwise), asks whether an event's
// name is in the catalogue, or looks at a clock to decide anything.
//
// # How
//
// An incarnation is one life of the routing: a producer, a reader, and what is
// known of the partitions that the group has given to this node. One goroutine
// fetches, waits for the sync and the barrier, judges, composes and appends;
// appends are acknowledged behind its back, at most so many unacknowledged (see
// ledger.Producer). Another goroutine appends the passed ids and commits, at
// most every [Options.CommitEvery], only what is acknowledged, and only on
// progress. Any failed append ends the incarnation, because an incarnation that
// went on after a gap would lose what is in the gap; the next one begins at the
// commits, with a new producer.
//
// A delivery's id carries the event record's own time, not the running maximum:
// it can be derived from the record alone, wherever it is read.
//
// # Repeats
//
// The memory of client-given ids is a fold of the log. An entry is the hash of an
// event's identity, its offset and the hour of record time in which it passed
// (record time: the running maximum of the partition's valid events). Entries
// live for the hour they are in and the 24 after it, so that whether one lives is
// a matter of the log and not of when it is asked. The router appends entries to
// `event-ids` before it commits; a new owner reads its commit, then all of
// `event-ids`, then judges. The first event of each hour leaves a mark there (a
// zero hash), so that a new owner also knows the hour at its commit. (A record from the
// future would move record time on for good; the topic's LogAppendTime forbids it on Kafka,
// and on the embedded broker only this machine's processes append.)
//
// An event is a repeat only of an earlier record: reading again from the commit
// meets its own entries, and entries of later records, and passes by both. A hit
// is confirmed by reading the earlier record. Events marked fresh (their id was
// drawn for this record) are not judged and leave no entry.
//
// Entries lie in open-addressing tables of 24 bytes a slot, some for each hour,
// in memory up to [Options.RepeatsMemory]; beyond it the oldest are written to
// files under [Options.Folder] and mapped: the kernel keeps what is asked for. Files of
// closed hours are used again after a restart if a manifest with checksums vouches
// for them; otherwise they are thrown away, and all is read from `event-ids`. (A
// Bloom filter in front of each file was left out: at the measured rates a miss costs
// one page of the page cache per hour.)
//
// # Decisions
//
// One producer and one reader for all partitions of the node, rather than one for
// each: fewer connections, larger batches, fewer wake-ups. The price is that one
// failed append starts all of them again at their commits.
//
// A damaged or missing place (a gap, a commit below the log's start or beyond its
// end, no commit where there are records) ends Run with a [RepairError]. Going on
// with the other partitions would hide it.
package router
