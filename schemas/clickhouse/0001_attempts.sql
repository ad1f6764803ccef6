-- Every record of the topic `attempts`: a row is a record, never a sum.
-- A row is named by its record (part, off), so writing it again changes nothing
-- under FINAL. After a crash one attempt may lie in two records (the later one
-- says completed), so readers count distinct attempt_id.
--
-- Partitioned by started_at, which is the record's own and can't change, so
-- that FINAL need not look across partitions.
CREATE TABLE IF NOT EXISTS {{db}}.attempts
(
    account           LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The account that the webhook belongs to',
    webhook_id        FixedString(16) CODEC(ZSTD(1)) COMMENT 'The webhook, 16 raw bytes; zero when kind is undecodable',
    delivery_id       FixedString(16) CODEC(ZSTD(3)) COMMENT 'The delivery, 16 raw bytes: milliseconds (6), webhook prefix (4), hash (6); zero for tests',
    event_id          String CODEC(ZSTD(1)) COMMENT 'The event id as the receiver sees it',
    event_type        LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The event name',
    attempt_id        FixedString(16) CODEC(ZSTD(1)) COMMENT 'The try (or fact), 16 raw bytes: partition (2), epoch (6), counter (8). Count distinct ones',
    kind              Enum8('undecodable' = 0, 'attempt' = 1, 'ended' = 2, 'retry_asked' = 3, 'retry_refused' = 4, 'test' = 5) CODEC(ZSTD(1)) COMMENT 'What the record reports. Only attempt and test are HTTP requests',
    attempt           UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Number of the try within the delivery, from 1, over all rounds; on other kinds how many were made',
    outcome           Enum8('none' = 0, 'delivered' = 1, 'http_status' = 2, 'timeout' = 3, 'refused' = 4, 'reset' = 5, 'unreachable' = 6, 'dns' = 7, 'tls' = 8, 'blocked' = 9, 'protocol' = 10, 'interrupted' = 11) CODEC(ZSTD(1)) COMMENT 'How the try ended; none on kinds that are no try',
    status_code       UInt16 CODEC(T64, ZSTD(1)) COMMENT 'HTTP status of the answer; 0 when there was none',
    request_sent      Bool CODEC(ZSTD(1)) COMMENT 'Whether any byte of the request left',
    maybe_repeat      Bool CODEC(ZSTD(1)) COMMENT 'The same try may have been in flight when a process crashed or lost the partition',
    url               LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The URL that was called',
    webhook_version   UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Version of the webhook whose URL and secret were used',
    started_at        DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the try began, or when it happened',
    duration_us       UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Microseconds from the start to the outcome',
    response_headers  String CODEC(ZSTD(1)) COMMENT 'JSON array of [name, value] in the order received; empty for none',
    response_body     String CODEC(ZSTD(1)) COMMENT 'The beginning of the response body, raw bytes',
    body_truncated    Bool CODEC(ZSTD(1)) COMMENT 'The body was longer than the limit',
    body_cut          Bool CODEC(ZSTD(1)) COMMENT 'The body was cut to fit a lane record, and the process that had it whole is gone',
    error             LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What went wrong, for people',
    round             UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Offset in `deliveries` that opened the round',
    end               Enum8('none' = 0, 'cancelled' = 1, 'given_up' = 2, 'delivered' = 3) CODEC(ZSTD(1)) COMMENT 'How this record ended the round; none when it did not',
    end_reason        Enum8('none' = 0, 'exhausted' = 1, 'hold_expired' = 2, 'webhook_deleted' = 3, 'payload_expired' = 4) CODEC(ZSTD(1)) COMMENT 'Why the round ended without a delivery',
    next_retry_at     DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the next try is due; 1970 for none',
    round_started_at  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'First try of the round; 1970 for none',
    upto              UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Greatest offset in `deliveries` applied to the delivery',
    epoch             UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Epoch of the owner that tried',
    command_offset    UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Offset in `deliveries` of the retry that was asked for',
    completed         Bool CODEC(ZSTD(1)) COMMENT 'Appended by a new owner from the lane record: there may be an original',
    actor             LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Who asked, for retries and tests',
    request_id        String CODEC(ZSTD(1)) COMMENT 'The API request that asked, for retries and tests',
    part              UInt16 CODEC(ZSTD(1)) COMMENT 'Partition of the record',
    off               UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Offset of the record',
    record_lag_ms     Int64 CODEC(T64, ZSTD(1)) COMMENT 'record_time - started_at',
    record_time       DateTime64(3, 'UTC') ALIAS addMilliseconds(started_at, record_lag_ms) COMMENT 'Timestamp of the record',
    record_hash       UInt64 CODEC(NONE) COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(started_at)
ORDER BY (account, webhook_id, delivery_id, off, part)
SETTINGS index_granularity = 2048, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'One row per record of the topic attempts';
