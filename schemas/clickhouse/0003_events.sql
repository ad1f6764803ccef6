-- Every record of the topic `events`, each payload once however wide its
-- fan-out. A row is named by its record (part, off).
--
-- status is what the record alone says (accepted or invalid), and what the
-- router said about it in `dead-letters` (ver = 1). A repeat with the same
-- content leaves no trace but its own record: it is the row of the same
-- (event_key) within 24 hours after an accepted one.
--
-- event_key: the first 8 bytes are a hash of account and id, so that an id alone
-- is found by a range; the last 8 are a hash of the ordering key.
--
-- Partitioned by the record's time; the publisher's created_at is only data.
CREATE TABLE IF NOT EXISTS {{db}}.events
(
    account      LowCardinality(String) COMMENT 'The account; empty when the record does not say' CODEC(ZSTD(1)),
    event_key    FixedString(16) COMMENT 'Hash of (account, event_id) and hash of ordering_key, 8 bytes each' CODEC(ZSTD(1)),
    event_id     String COMMENT 'The event id: the publisher''s own, or ours' CODEC(ZSTD(1)),
    event_type   LowCardinality(String) COMMENT 'The event name' CODEC(ZSTD(1)),
    index_id     String COMMENT 'The index; empty for none' CODEC(ZSTD(1)),
    ordering_key String COMMENT 'The ordering key; empty for none' CODEC(ZSTD(1)),
    source       LowCardinality(String) COMMENT 'Who published it (ce_source)' CODEC(ZSTD(1)),
    created_at   DateTime64(3, 'UTC') COMMENT 'What the publisher says' CODEC(Delta, ZSTD(1)),
    fresh        Bool COMMENT 'The id was drawn for this record, so it can''t be a repeat' CODEC(ZSTD(1)),
    data         String COMMENT 'The published JSON, verbatim' CODEC(ZSTD(1)),
    status       Enum8('accepted' = 1, 'repeat' = 2, 'invalid' = 3) COMMENT 'What became of the record' CODEC(ZSTD(1)),
    reason       LowCardinality(String) COMMENT 'Why it was not accepted' CODEC(ZSTD(1)),
    part         UInt16 COMMENT 'Partition of the record' CODEC(ZSTD(1)),
    off          UInt64 COMMENT 'Offset of the record' CODEC(Delta, ZSTD(1)),
    record_time  DateTime64(3, 'UTC') COMMENT 'Timestamp of the record: created_at of its deliveries' CODEC(Delta, ZSTD(1)),
    record_hash  UInt64 COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log' CODEC(NONE),
    ver          UInt8 COMMENT '0 from the record, 1 from its dead letter' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(ver)
PARTITION BY toMonday(record_time)
ORDER BY (account, event_key, part, off)
SETTINGS index_granularity = 1024, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'One row per record of the topic events';
