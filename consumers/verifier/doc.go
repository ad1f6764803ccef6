// Package verifier compares the history in ClickHouse with the log.
//
// # What it compares
//
// The ends of all partitions are taken first, and the historian is given time to
// come past them. Then:
//
//   - config_changes, events and attempts have one row for each record. The records
//     between the log's start and the end taken are folded into rows again, and the
//     rows are compared with those that ClickHouse has there: by count, by distinct
//     offsets, and by the sum of the rows' hashes, in buckets of offsets. A row's
//     hash covers every column, among them the hash of the whole record. Where a
//     bucket differs, its offsets are gone through, and each one that is missing,
//     surplus, doubled or different is named, with the columns that differ.
//   - deliveries is folded again from attempts, from what lies in the log of
//     deliveries, and from lanes, and compared delivery by delivery. What has moved on
//     since is compared with the record that its row is of.
//   - attempts_hourly is added up again from attempts, hour by hour.
//
// # It promises
//
// to find every row that is missing, too many, doubled or changed in what the log
// still holds, on a live system too, without holding more than [Options.Memory] of
// states (beyond it, the log of attempts is read several times); and to say how
// many rows it could not judge because the log no longer holds their records.
//
// # It never
//
// writes anything, anywhere, or mends what it finds: that is `hookledger rebuild`.
package verifier
