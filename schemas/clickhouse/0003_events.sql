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
    account      LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The account; empty when the record does not say',
    event_key    FixedString(16) CODEC(ZSTD(1)) COMMENT 'Hash of (account, event_id) and hash of ordering_key, 8 bytes each',
    event_id     String CODEC(ZSTD(1)) COMMENT 'The event id: the publisher''s own, or ours',
    event_type   LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The event name',
    index_id     String CODEC(ZSTD(1)) COMMENT 'The index; empty for none',
    ordering_key String CODEC(ZSTD(1)) COMMENT 'The ordering key; empty for none',
    source       LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Who published it (ce_source)',
    created_at   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'What the publisher says',
    fresh        Bool CODEC(ZSTD(1)) COMMENT 'The id was drawn for this record, so it can''t be a repeat',
    data         String CODEC(ZSTD(1)) COMMENT 'The published JSON, verbatim',
    status       Enum8('accepted' = 1, 'repeat' = 2, 'invalid' = 3) CODEC(ZSTD(1)) COMMENT 'What became of the record',
    reason       LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Why it was not accepted',
    part         UInt16 CODEC(ZSTD(1)) COMMENT 'Partition of the record',
    off          UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Offset of the record',
    record_time  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the record: created_at of its deliveries',
    record_hash  UInt64 CODEC(NONE) COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log',
    ver          UInt8 CODEC(ZSTD(1)) COMMENT '0 from the record, 1 from its dead letter'
)
ENGINE = ReplacingMergeTree(ver)
PARTITION BY toMonday(record_time)
ORDER BY (account, event_key, part, off)
SETTINGS index_granularity = 1024, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'One row per record of the topic events';
