-- Attempts by webhook, hour and outcome. Every row is computed anew from
-- attempts FINAL, never added to. ver is how many rows of attempts its webhook's
-- hour was computed from: that only grows, so the greatest is the newest.
CREATE TABLE IF NOT EXISTS {{db}}.attempts_hourly
(
    account    LowCardinality(String) COMMENT 'The account that the webhook belongs to' CODEC(ZSTD(1)),
    webhook_id FixedString(16) COMMENT 'The webhook, 16 raw bytes' CODEC(ZSTD(1)),
    hour       DateTime('UTC') COMMENT 'Beginning of the hour in which the attempts began' CODEC(Delta, ZSTD(1)),
    outcome    Enum8('none' = 0, 'delivered' = 1, 'http_status' = 2, 'timeout' = 3, 'refused' = 4, 'reset' = 5, 'unreachable' = 6, 'dns' = 7, 'tls' = 8, 'blocked' = 9, 'protocol' = 10, 'interrupted' = 11) COMMENT 'How the attempts ended' CODEC(ZSTD(1)),
    n          UInt32 COMMENT 'Distinct attempts' CODEC(T64, ZSTD(1)),
    dur_us     UInt64 COMMENT 'Sum of their durations' CODEC(ZSTD(1)),
    lb         Array(UInt8) COMMENT 'Latency buckets, ascending: floor(log2(duration_us + 1) * 8), each 9 % wide' CODEC(ZSTD(1)),
    ln         Array(UInt32) COMMENT 'Attempts in each bucket of lb' CODEC(ZSTD(1)),
    last_at    DateTime64(3, 'UTC') COMMENT 'Start of the last of them' CODEC(Delta, ZSTD(1)),
    trailing   UInt32 COMMENT 'How many of them began after the webhook''s last success in this hour' CODEC(T64, ZSTD(1)),
    ver        UInt64 COMMENT 'Rows of attempts that the webhook''s hour was computed from' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(ver)
PARTITION BY toYYYYMM(hour)
ORDER BY (account, webhook_id, hour, outcome)
COMMENT 'Attempts by webhook, hour and outcome, recomputed from attempts';
