// Package ledger is the log: its topics, what a record in each of them is, and
// how to append, read and trim.
//
// The log is the only truth of Hookledger. Everything else, memory and
// ClickHouse, is made from it and can be thrown away. So this package is the
// only one that writes to Kafka, and every reader goes through it.
//
// Promises:
//   - Append returns success only when all in-sync replicas have the record.
//   - What a Producer is given after a record that failed never gets into the log
//     behind the gap: its first error is its last word.
//   - A Reader hands over the records of a partition in order and without a
//     gap. Nothing of ours is transactional or compacted, so offsets have no
//     gaps; one that shows is damage (ErrGap), and a reader whose position lies
//     below the log's start is told so (ErrBelowStart). Neither is read over.
//   - A record that can't be decoded is never skipped silently: DeadLetter
//     copies it, as it is, with where it came from and why.
//   - Synced returns when what the broker had before the call survives a power
//     cut, as far as the broker can tell: Kafka's replicas are its answer, so
//     there it returns at once; the embedded broker syncs its files.
//
// It never uses Kafka transactions, never relies on compaction, and never
// creates a topic on the way: EnsureTopics makes them, with settings that are
// checked at every start.
//
// Partitioning is Kafka's default (murmur2 of the key), chosen over a hash of
// our own so that a platform that produces events with any Kafka client puts
// them where the API would.
package ledger
