-- How far the historian has come, appended after the rows: all records of a
-- partition below next_off are in the tables. The greatest next_off counts.
-- It is an optimisation and a promise to readers; dedup does not rest on it.
CREATE TABLE IF NOT EXISTS {{db}}.places
(
    topic    LowCardinality(String) COMMENT 'Topic without its prefix',
    part     UInt16 COMMENT 'Partition',
    next_off UInt64 COMMENT 'The first offset whose row may be missing',
    topic_id FixedString(16) COMMENT 'The broker''s own id of the topic, 16 raw bytes',
    sources  Array(Tuple(part UInt16, off UInt64, webhook_id FixedString(16))) COMMENT 'On `deliveries`: per partition of `events` the greatest (offset, webhook) accepted below next_off',
    hours    Array(UInt32) COMMENT 'On `attempts`: hours (Unix time) that attempts_hourly was still owed',
    at       DateTime64(3, 'UTC') COMMENT 'When it was appended'
)
ENGINE = ReplacingMergeTree(next_off)
ORDER BY (topic, part)
COMMENT 'How far the history has come, per partition of the log';
