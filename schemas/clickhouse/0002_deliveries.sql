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
    account         LowCardinality(String) COMMENT 'The account that the webhook belongs to' CODEC(ZSTD(1)),
    webhook_id      FixedString(16) COMMENT 'The webhook, 16 raw bytes' CODEC(ZSTD(1)),
    delivery_id     FixedString(16) COMMENT 'The delivery, 16 raw bytes: milliseconds (6), webhook prefix (4), hash (6)' CODEC(ZSTD(3)),
    event_id        String COMMENT 'The event id as the receiver sees it' CODEC(ZSTD(1)),
    event_type      LowCardinality(String) COMMENT 'The event name' CODEC(ZSTD(1)),
    status          Enum8('pending' = 1, 'retrying' = 2, 'delivered' = 3, 'failed' = 4) COMMENT 'As in the API' CODEC(ZSTD(1)),
    round           UInt64 COMMENT 'Offset in `deliveries` that opened the round' CODEC(Delta, ZSTD(1)),
    end             Enum8('none' = 0, 'cancelled' = 1, 'given_up' = 2, 'delivered' = 3) COMMENT 'How the round ended' CODEC(ZSTD(1)),
    end_reason      Enum8('none' = 0, 'exhausted' = 1, 'hold_expired' = 2, 'webhook_deleted' = 3, 'payload_expired' = 4) COMMENT 'Why the round ended without a delivery' CODEC(ZSTD(1)),
    attempt         UInt32 COMMENT 'Number of the last try; attempts has the distinct ones' CODEC(T64, ZSTD(1)),
    upto            UInt64 COMMENT 'Greatest offset in `deliveries` applied to the delivery' CODEC(Delta, ZSTD(1)),
    created_at      DateTime64(3, 'UTC') COMMENT 'Time of the event record: the time in delivery_id' CODEC(Delta, ZSTD(1)),
    changed_at      DateTime64(3, 'UTC') COMMENT 'When this state was reached' CODEC(Delta, ZSTD(1)),
    next_retry_at   DateTime64(3, 'UTC') COMMENT 'When the next try is due; 1970 for none' CODEC(Delta, ZSTD(1)),
    completed_at    DateTime64(3, 'UTC') COMMENT 'When the round ended; 1970 while it has not' CODEC(Delta, ZSTD(1)),
    source_part     UInt16 COMMENT 'Partition of the event record' CODEC(ZSTD(1)),
    source_off      UInt64 COMMENT 'Offset of the event record' CODEC(Delta, ZSTD(1)),
    metadata_offset Int64 COMMENT 'Offset in `config` of the metadata that was sent; -1 for none' CODEC(T64, ZSTD(1)),
    body_hash       FixedString(32) COMMENT 'SHA-256 of the body that is sent' CODEC(NONE),
    body_size       UInt32 COMMENT 'Bytes of the body that is sent' CODEC(T64, ZSTD(1)),
    is_fact         Bool COMMENT 'From a record of `attempts`; else from the request in `deliveries`' CODEC(ZSTD(1)),
    epoch           UInt64 COMMENT 'Epoch of the owner that said so' CODEC(T64, ZSTD(1)),
    completed       Bool COMMENT 'From a completed copy of a fact' CODEC(ZSTD(1)),
    part            UInt16 COMMENT 'Partition of the record' CODEC(ZSTD(1)),
    off             UInt64 COMMENT 'Offset of the record, in `attempts` or (is_fact = 0) in `deliveries`' CODEC(Delta, ZSTD(1)),
    version         UInt256 MATERIALIZED
                        bitShiftLeft(toUInt256(is_fact), 227)
                        + bitShiftLeft(toUInt256(round), 179)
                        + bitShiftLeft(toUInt256(toUInt8(end)), 177)
                        + bitShiftLeft(toUInt256(attempt), 145)
                        + bitShiftLeft(toUInt256(upto), 97)
                        + bitShiftLeft(toUInt256(epoch), 49)
                        + bitShiftLeft(toUInt256(NOT completed), 48)
                        + toUInt256(off)
                        COMMENT 'Which moment of the delivery this is: the greatest is its state' CODEC(ZSTD(1)),
    INDEX created created_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toMonday(created_at)
ORDER BY (account, webhook_id, delivery_id)
SETTINGS index_granularity = 1024, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Latest state of each delivery';
