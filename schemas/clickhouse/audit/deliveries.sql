CREATE OR REPLACE VIEW {{audit}}.deliveries
(
    created_at     DateTime64(3, 'UTC') COMMENT 'When the log took the event: the time of its record. Bounding it makes any question fast',
    account        LowCardinality(String) COMMENT 'The account. First in the order of the table: naming it makes any question fast',
    webhook_id     String COMMENT 'The webhook: wh_...',
    delivery_id    String COMMENT 'The delivery: del_...; the receiver''s X-Delivery-ID',
    event_id       String COMMENT 'The event, as the receiver sees it',
    event_type     LowCardinality(String) COMMENT 'The event name',
    status         String COMMENT 'pending (no try yet), retrying, delivered, failed',
    end_kind       String COMMENT 'How the present round ended: none, delivered, given_up, cancelled',
    end_reason     String COMMENT 'Why it ended without a delivery: none, exhausted, hold_expired, webhook_deleted, payload_expired',
    last_attempt   UInt32 COMMENT 'Number of the last try over all rounds. After a crash one number may have been tried twice: attempts has the distinct ones',
    changed_at     DateTime64(3, 'UTC') COMMENT 'When this state was reached',
    next_retry_at  Nullable(DateTime64(3, 'UTC')) COMMENT 'When the next try is due',
    completed_at   Nullable(DateTime64(3, 'UTC')) COMMENT 'When the present round ended',
    seconds        Nullable(Float64) COMMENT 'Seconds from created_at to completed_at, to the millisecond',
    body_sha256    String COMMENT 'SHA-256 of the body that is sent, in hex: the same on every try',
    body_size      UInt32 COMMENT 'Bytes of that body',
    event_partition UInt16 COMMENT 'Partition of events in which the event''s record lies',
    event_offset   UInt64 COMMENT 'Offset of the event''s record',
    log_topic      String COMMENT 'Topic of the record that this state comes from: attempts, or deliveries before the first fact',
    log_partition  UInt16 COMMENT 'Partition of that record',
    log_offset     UInt64 COMMENT 'Offset of that record'
)
AS
SELECT t.created_at, t.account, {{wh t.webhook_id}} AS webhook_id, {{del t.delivery_id}} AS delivery_id, t.event_id, t.event_type,
    toString(t.status) AS status, toString(t.end) AS end_kind, toString(t.end_reason) AS end_reason, t.attempt AS last_attempt, t.changed_at,
    nullIf(t.next_retry_at, toDateTime64(0, 3, 'UTC')) AS next_retry_at, nullIf(t.completed_at, toDateTime64(0, 3, 'UTC')) AS completed_at,
    dateDiff('millisecond', t.created_at, completed_at) / 1000 AS seconds, lower(hex(t.body_hash)) AS body_sha256, t.body_size,
    t.source_part AS event_partition, t.source_off AS event_offset, if(t.is_fact, 'attempts', 'deliveries') AS log_topic, t.part AS log_partition, t.off AS log_offset
FROM {{db}}.deliveries AS t FINAL
{{where}}
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Every delivery (an event at a webhook) in its latest state'
