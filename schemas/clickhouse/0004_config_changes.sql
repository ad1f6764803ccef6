-- Every record of the topic `config`: the audit trail, without secrets (neither
-- sealed ones nor hashes of keys).
CREATE TABLE IF NOT EXISTS {{db}}.config_changes
(
    account          LowCardinality(String) COMMENT 'The account' CODEC(ZSTD(1)),
    subject_id       String COMMENT 'What was changed: wh_... or key_..., as in the API; for calls their target' CODEC(ZSTD(1)),
    change           Enum8('webhook_created' = 10, 'webhook_updated' = 11, 'webhook_disabled' = 12, 'secret_rotated' = 13, 'webhook_deleted' = 14, 'api_key_created' = 20, 'api_key_rotated' = 21, 'api_key_revoked' = 22, 'api_key_deleted' = 23, 'call_started' = 30, 'call_answered' = 31) COMMENT 'What was asked for' CODEC(ZSTD(1)),
    verdict          Enum8('applied' = 1, 'repeat' = 2, 'mismatch' = 3, 'in_progress' = 4, 'conflict' = 5, 'not_found' = 6, 'limit' = 7, 'invalid' = 8) COMMENT 'What the fold said: only applied changed anything' CODEC(ZSTD(1)),
    fact_id          FixedString(16) COMMENT 'The fact, 16 raw bytes' CODEC(NONE),
    rules            UInt32 COMMENT 'Version of the rules that judged it' CODEC(T64, ZSTD(1)),
    actor_kind       Enum8('unknown' = 0, 'api_key' = 1, 'token' = 2, 'operator' = 3, 'system' = 4) COMMENT 'Kind of who asked' CODEC(ZSTD(1)),
    actor_id         LowCardinality(String) COMMENT 'Who asked: the API key, the token''s subject, or a component' CODEC(ZSTD(1)),
    request_id       String COMMENT 'The API request that asked' CODEC(ZSTD(1)),
    at               DateTime64(3, 'UTC') COMMENT 'Clock of the node that asked' CODEC(Delta, ZSTD(1)),
    expected_version UInt64 COMMENT 'Version of the webhook that the change expected; 0 for any' CODEC(T64, ZSTD(1)),
    version          UInt64 COMMENT 'Version of the webhook that the change carries; 0 when it carries none' CODEC(T64, ZSTD(1)),
    fields           Array(LowCardinality(String)) COMMENT 'Names of the fields that an update set' CODEC(ZSTD(1)),
    state            String COMMENT 'JSON: the state that the change carries, without secrets' CODEC(ZSTD(1)),
    metadata         String COMMENT 'The webhook''s metadata, byte for byte as given; empty for none' CODEC(ZSTD(1)),
    part             UInt16 COMMENT 'Partition of the record' CODEC(ZSTD(1)),
    off              UInt64 COMMENT 'Offset of the record' CODEC(Delta, ZSTD(1)),
    record_time      DateTime64(3, 'UTC') COMMENT 'Timestamp of the record' CODEC(Delta, ZSTD(1)),
    record_hash      UInt64 COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log' CODEC(NONE)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(record_time)
ORDER BY (account, subject_id, off, part)
SETTINGS index_granularity = 1024, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'One row per record of the topic config: the audit trail';
