-- Attempts by webhook, hour and outcome. Every row is computed anew from
-- attempts FINAL, never added to. ver is how many rows of attempts its webhook's
-- hour was computed from: that only grows, so the greatest is the newest.
CREATE TABLE IF NOT EXISTS {{db}}.attempts_hourly
(
    account    LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The account that the webhook belongs to',
    webhook_id FixedString(16) CODEC(ZSTD(1)) COMMENT 'The webhook, 16 raw bytes',
    hour       DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Beginning of the hour in which the attempts began',
    outcome    Enum8('none' = 0, 'delivered' = 1, 'http_status' = 2, 'timeout' = 3, 'refused' = 4, 'reset' = 5, 'unreachable' = 6, 'dns' = 7, 'tls' = 8, 'blocked' = 9, 'protocol' = 10, 'interrupted' = 11) CODEC(ZSTD(1)) COMMENT 'How the attempts ended',
    n          UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Distinct attempts',
    dur_us     UInt64 CODEC(ZSTD(1)) COMMENT 'Sum of their durations',
    lb         Array(UInt8) CODEC(ZSTD(1)) COMMENT 'Latency buckets, ascending: floor(log2(duration_us + 1) * 8), each 9 % wide',
    ln         Array(UInt32) CODEC(ZSTD(1)) COMMENT 'Attempts in each bucket of lb',
    last_at    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the last of them',
    trailing   UInt32 CODEC(T64, ZSTD(1)) COMMENT 'How many of them began after the webhook''s last success in this hour',
    ver        UInt64 CODEC(ZSTD(1)) COMMENT 'Rows of attempts that the webhook''s hour was computed from'
)
ENGINE = ReplacingMergeTree(ver)
PARTITION BY toYYYYMM(hour)
ORDER BY (account, webhook_id, hour, outcome)
COMMENT 'Attempts by webhook, hour and outcome, recomputed from attempts';
