-- The latest state of each delivery. A row is complete and says which moment
-- of the delivery it is; FINAL keeps the greatest version, whatever the order
-- in which rows arrive.
--
-- version is the tuple (is_fact, round, end, attempt, upto, epoch, original,
-- off) as one number, greatest first, so that comparing numbers is comparing
-- tuples. Widths: is_fact 1, round 48, end 2 (delivered beats given up beats
-- cancelled beats none), attempt 32, upto 48, epoch 48, original 1, off 48.
-- A request (is_fact = 0) is the state only until the first fact. epoch and
-- what follows decide only between facts of one try number, such as a superseded
-- process's and the owner's, or a fact and its completed copy.
--
-- What the last try returned is not here but in attempts: facts that are no try
-- don't carry it, so a state row could not be complete.
CREATE TABLE IF NOT EXISTS {{db}}.deliveries
(
    account         LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The account that the webhook belongs to',
    webhook_id      FixedString(16) CODEC(ZSTD(1)) COMMENT 'The webhook, 16 raw bytes',
    delivery_id     FixedString(16) CODEC(ZSTD(3)) COMMENT 'The delivery, 16 raw bytes: milliseconds (6), webhook prefix (4), hash (6)',
    event_id        String CODEC(ZSTD(1)) COMMENT 'The event id as the receiver sees it',
    event_type      LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The event name',
    status          Enum8('pending' = 1, 'retrying' = 2, 'delivered' = 3, 'failed' = 4) CODEC(ZSTD(1)) COMMENT 'As in the API',
    round           UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Offset in `deliveries` that opened the round',
    end             Enum8('none' = 0, 'cancelled' = 1, 'given_up' = 2, 'delivered' = 3) CODEC(ZSTD(1)) COMMENT 'How the round ended',
    end_reason      Enum8('none' = 0, 'exhausted' = 1, 'hold_expired' = 2, 'webhook_deleted' = 3, 'payload_expired' = 4) CODEC(ZSTD(1)) COMMENT 'Why the round ended without a delivery',
    attempt         UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Number of the last try; attempts has the distinct ones',
    upto            UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Greatest offset in `deliveries` applied to the delivery',
    created_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the event record: the time in delivery_id',
    changed_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When this state was reached',
    next_retry_at   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the next try is due; 1970 for none',
    completed_at    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the round ended; 1970 while it has not',
    source_part     UInt16 CODEC(ZSTD(1)) COMMENT 'Partition of the event record',
    source_off      UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Offset of the event record',
    metadata_offset Int64 CODEC(T64, ZSTD(1)) COMMENT 'Offset in `config` of the metadata that was sent; -1 for none',
    body_hash       FixedString(32) CODEC(NONE) COMMENT 'SHA-256 of the body that is sent',
    body_size       UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Bytes of the body that is sent',
    is_fact         Bool CODEC(ZSTD(1)) COMMENT 'From a record of `attempts`; else from the request in `deliveries`',
    epoch           UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Epoch of the owner that said so',
    completed       Bool CODEC(ZSTD(1)) COMMENT 'From a completed copy of a fact',
    part            UInt16 CODEC(ZSTD(1)) COMMENT 'Partition of the record',
    off             UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Offset of the record, in `attempts` or (is_fact = 0) in `deliveries`',
    version         UInt256 MATERIALIZED
                        bitShiftLeft(toUInt256(is_fact), 227)
                        + bitShiftLeft(toUInt256(round), 179)
                        + bitShiftLeft(toUInt256(reinterpretAsUInt8(end)), 177)
                        + bitShiftLeft(toUInt256(attempt), 145)
                        + bitShiftLeft(toUInt256(upto), 97)
                        + bitShiftLeft(toUInt256(epoch), 49)
                        + bitShiftLeft(toUInt256(NOT completed), 48)
                        + toUInt256(off)
                        CODEC(ZSTD(1)) COMMENT 'Which moment of the delivery this is: the greatest is its state',
    INDEX created created_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toMonday(created_at)
ORDER BY (account, webhook_id, delivery_id)
SETTINGS index_granularity = 1024, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Latest state of each delivery';
