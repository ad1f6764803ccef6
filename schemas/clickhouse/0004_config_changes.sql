-- Every record of the topic `config`: the audit trail, without secrets (neither
-- sealed ones nor hashes of keys).
CREATE TABLE IF NOT EXISTS {{db}}.config_changes
(
    account          LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The account',
    subject_id       String CODEC(ZSTD(1)) COMMENT 'What was changed: wh_... or key_..., as in the API; for calls their target',
    change           Enum8('webhook_created' = 10, 'webhook_updated' = 11, 'webhook_disabled' = 12, 'secret_rotated' = 13, 'webhook_deleted' = 14, 'api_key_created' = 20, 'api_key_rotated' = 21, 'api_key_revoked' = 22, 'api_key_deleted' = 23, 'call_started' = 30, 'call_answered' = 31) CODEC(ZSTD(1)) COMMENT 'What was asked for',
    verdict          Enum8('applied' = 1, 'repeat' = 2, 'mismatch' = 3, 'in_progress' = 4, 'conflict' = 5, 'not_found' = 6, 'limit' = 7, 'invalid' = 8) CODEC(ZSTD(1)) COMMENT 'What the fold said: only applied changed anything',
    fact_id          FixedString(16) CODEC(NONE) COMMENT 'The fact, 16 raw bytes',
    rules            UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Version of the rules that judged it',
    actor_kind       Enum8('unknown' = 0, 'api_key' = 1, 'token' = 2, 'operator' = 3, 'system' = 4) CODEC(ZSTD(1)) COMMENT 'Kind of who asked',
    actor_id         LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Who asked: the API key, the token''s subject, or a component',
    request_id       String CODEC(ZSTD(1)) COMMENT 'The API request that asked',
    at               DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Clock of the node that asked',
    expected_version UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Version of the webhook that the change expected; 0 for any',
    version          UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Version of the webhook that the change carries; 0 when it carries none',
    fields           Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'Names of the fields that an update set',
    state            String CODEC(ZSTD(1)) COMMENT 'JSON: the state that the change carries, without secrets',
    metadata         String CODEC(ZSTD(1)) COMMENT 'The webhook''s metadata, byte for byte as given; empty for none',
    part             UInt16 CODEC(ZSTD(1)) COMMENT 'Partition of the record',
    off              UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Offset of the record',
    record_time      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the record',
    record_hash      UInt64 CODEC(NONE) COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(record_time)
ORDER BY (account, subject_id, off, part)
SETTINGS index_granularity = 1024, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'One row per record of the topic config: the audit trail';
