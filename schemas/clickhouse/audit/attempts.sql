-- One row per try. After a crash a new owner may append a try's fact again (a
-- completed copy): of both, the original is shown, and of copies without an
-- original the first. Copies are rare, so they are looked for alone: LIMIT 1 BY
-- over all tries was twelve times slower, and conditions are not pushed below it.
CREATE OR REPLACE VIEW {{audit}}.attempts
(
    started_at       DateTime64(3, 'UTC') COMMENT 'When the try began. Bounding it makes any question fast: the table is partitioned by its day',
    account          LowCardinality(String) COMMENT 'The account. First in the order of the table: naming it makes any question fast',
    webhook_id       String COMMENT 'The webhook: wh_...',
    delivery_id      String COMMENT 'The delivery: del_...; the receiver''s X-Delivery-ID',
    attempt_id       String COMMENT 'The try: att_...; the receiver''s X-Delivery-Attempt-ID',
    event_id         String COMMENT 'The event, as the receiver sees it',
    event_type       LowCardinality(String) COMMENT 'The event name',
    attempt          UInt32 COMMENT 'Number of the try within the delivery, from 1, over all rounds',
    outcome          String COMMENT 'How it ended: delivered, http_status, timeout, refused, reset, unreachable, dns, tls, blocked, protocol, interrupted',
    status_code      UInt16 COMMENT 'HTTP status of the answer; 0 when there was none',
    duration_ms      Float64 COMMENT 'Milliseconds from the start to the outcome',
    request_sent     Bool COMMENT 'Whether any byte of the request left',
    maybe_repeat     Bool COMMENT 'The same try may have been in flight when a process crashed or lost the partition: the receiver may have seen it before',
    url              String COMMENT 'The URL that was called',
    webhook_version  UInt64 COMMENT 'Version of the webhook whose URL and secret were used: see webhook_versions',
    error            String COMMENT 'What went wrong, for people; empty when nothing did',
    response_headers String COMMENT 'JSON array of [name, value]; empty for none',
    response_body    String COMMENT 'The beginning of the response body, raw bytes',
    body_whole       Bool COMMENT 'Whether response_body is all of it',
    end_kind         String COMMENT 'How this try ended the round: none, delivered, given_up, cancelled',
    end_reason       String COMMENT 'Why the round ended without a delivery',
    next_retry_at    Nullable(DateTime64(3, 'UTC')) COMMENT 'When the next try was due',
    log_partition    UInt16 COMMENT 'Partition of attempts in which the record lies',
    log_offset       UInt64 COMMENT 'Offset of the record',
    record_hash      UInt64 COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log'
)
AS
SELECT t.started_at, t.account, {{wh t.webhook_id}} AS webhook_id, {{del t.delivery_id}} AS delivery_id, {{att t.attempt_id}} AS attempt_id,
    t.event_id, t.event_type, t.attempt, toString(t.outcome) AS outcome, t.status_code, t.duration_us / 1000 AS duration_ms, t.request_sent, t.maybe_repeat,
    toString(t.url) AS url, t.webhook_version, toString(t.error) AS error, t.response_headers, t.response_body, NOT (t.body_truncated OR t.body_cut) AS body_whole,
    toString(t.end) AS end_kind, toString(t.end_reason) AS end_reason, nullIf(t.next_retry_at, toDateTime64(0, 3, 'UTC')) AS next_retry_at,
    t.part AS log_partition, t.off AS log_offset, t.record_hash
FROM {{db}}.attempts AS t FINAL
WHERE t.kind = 'attempt' {{and}}
    AND (NOT t.completed OR (t.part, t.off) IN
    (
        SELECT t.part, t.off
        FROM {{db}}.attempts AS t
        WHERE t.kind = 'attempt' AND t.completed {{and}}
            AND t.attempt_id NOT IN
            (
                SELECT t.attempt_id
                FROM {{db}}.attempts AS t
                WHERE NOT t.completed {{and}}
                    AND (t.account, t.webhook_id, t.delivery_id, t.attempt_id) IN
                        (SELECT t.account, t.webhook_id, t.delivery_id, t.attempt_id FROM {{db}}.attempts AS t WHERE t.completed {{and}})
            )
        ORDER BY t.part, t.off
        LIMIT 1 BY t.attempt_id
    ))
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Every try of a delivery: one row per HTTP request or attempt to make one'
