-- Every record of the topic `attempts`: a row is a record, never a sum.
-- A row is named by its record (part, off), so writing it again changes nothing
-- under FINAL. After a crash one attempt may lie in two records (the later one
-- says completed), so readers count distinct attempt_id.
--
-- Partitioned by started_at, which is the record's own and can't change, so
-- that FINAL need not look across partitions.
CREATE TABLE IF NOT EXISTS {{db}}.attempts
(
    account           LowCardinality(String) COMMENT 'The account that the webhook belongs to' CODEC(ZSTD(1)),
    webhook_id        FixedString(16) COMMENT 'The webhook, 16 raw bytes; zero when kind is undecodable' CODEC(ZSTD(1)),
    delivery_id       FixedString(16) COMMENT 'The delivery, 16 raw bytes: milliseconds (6), webhook prefix (4), hash (6); zero for tests' CODEC(ZSTD(3)),
    event_id          String COMMENT 'The event id as the receiver sees it' CODEC(ZSTD(1)),
    event_type        LowCardinality(String) COMMENT 'The event name' CODEC(ZSTD(1)),
    attempt_id        FixedString(16) COMMENT 'The try (or fact), 16 raw bytes: partition (2), epoch (6), counter (8). Count distinct ones' CODEC(ZSTD(1)),
    kind              Enum8('undecodable' = 0, 'attempt' = 1, 'ended' = 2, 'retry_asked' = 3, 'retry_refused' = 4, 'test' = 5) COMMENT 'What the record reports. Only attempt and test are HTTP requests' CODEC(ZSTD(1)),
    attempt           UInt32 COMMENT 'Number of the try within the delivery, from 1, over all rounds; on other kinds how many were made' CODEC(T64, ZSTD(1)),
    outcome           Enum8('none' = 0, 'delivered' = 1, 'http_status' = 2, 'timeout' = 3, 'refused' = 4, 'reset' = 5, 'unreachable' = 6, 'dns' = 7, 'tls' = 8, 'blocked' = 9, 'protocol' = 10, 'interrupted' = 11) COMMENT 'How the try ended; none on kinds that are no try' CODEC(ZSTD(1)),
    status_code       UInt16 COMMENT 'HTTP status of the answer; 0 when there was none' CODEC(T64, ZSTD(1)),
    request_sent      Bool COMMENT 'Whether any byte of the request left' CODEC(ZSTD(1)),
    maybe_repeat      Bool COMMENT 'The same try may have been in flight when a process crashed or lost the partition' CODEC(ZSTD(1)),
    url               LowCardinality(String) COMMENT 'The URL that was called' CODEC(ZSTD(1)),
    webhook_version   UInt64 COMMENT 'Version of the webhook whose URL and secret were used' CODEC(T64, ZSTD(1)),
    started_at        DateTime64(3, 'UTC') COMMENT 'When the try began, or when it happened' CODEC(Delta, ZSTD(1)),
    duration_us       UInt32 COMMENT 'Microseconds from the start to the outcome' CODEC(T64, ZSTD(1)),
    response_headers  String COMMENT 'JSON array of [name, value] in the order received; empty for none' CODEC(ZSTD(1)),
    response_body     String COMMENT 'The beginning of the response body, raw bytes' CODEC(ZSTD(1)),
    body_truncated    Bool COMMENT 'The body was longer than the limit' CODEC(ZSTD(1)),
    body_cut          Bool COMMENT 'The body was cut to fit a lane record, and the process that had it whole is gone' CODEC(ZSTD(1)),
    error             LowCardinality(String) COMMENT 'What went wrong, for people' CODEC(ZSTD(1)),
    round             UInt64 COMMENT 'Offset in `deliveries` that opened the round' CODEC(Delta, ZSTD(1)),
    end               Enum8('none' = 0, 'cancelled' = 1, 'given_up' = 2, 'delivered' = 3) COMMENT 'How this record ended the round; none when it did not' CODEC(ZSTD(1)),
    end_reason        Enum8('none' = 0, 'exhausted' = 1, 'hold_expired' = 2, 'webhook_deleted' = 3, 'payload_expired' = 4) COMMENT 'Why the round ended without a delivery' CODEC(ZSTD(1)),
    next_retry_at     DateTime64(3, 'UTC') COMMENT 'When the next try is due; 1970 for none' CODEC(Delta, ZSTD(1)),
    round_started_at  DateTime64(3, 'UTC') COMMENT 'First try of the round; 1970 for none' CODEC(Delta, ZSTD(1)),
    upto              UInt64 COMMENT 'Greatest offset in `deliveries` applied to the delivery' CODEC(Delta, ZSTD(1)),
    epoch             UInt64 COMMENT 'Epoch of the owner that tried' CODEC(T64, ZSTD(1)),
    command_offset    UInt64 COMMENT 'Offset in `deliveries` of the retry that was asked for' CODEC(T64, ZSTD(1)),
    completed         Bool COMMENT 'Appended by a new owner from the lane record: there may be an original' CODEC(ZSTD(1)),
    actor             LowCardinality(String) COMMENT 'Who asked, for retries and tests' CODEC(ZSTD(1)),
    request_id        String COMMENT 'The API request that asked, for retries and tests' CODEC(ZSTD(1)),
    part              UInt16 COMMENT 'Partition of the record' CODEC(ZSTD(1)),
    off               UInt64 COMMENT 'Offset of the record' CODEC(Delta, ZSTD(1)),
    record_lag_ms     Int64 COMMENT 'record_time - started_at' CODEC(T64, ZSTD(1)),
    record_time       DateTime64(3, 'UTC') ALIAS addMilliseconds(started_at, record_lag_ms) COMMENT 'Timestamp of the record',
    record_hash       UInt64 COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log' CODEC(NONE)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(started_at)
ORDER BY (account, webhook_id, delivery_id, off, part)
SETTINGS index_granularity = 2048, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'One row per record of the topic attempts';
