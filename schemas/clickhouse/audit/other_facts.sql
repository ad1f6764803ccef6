-- The records of attempts that are no try. attempts and other_facts together
-- have every fact of that topic (completed copies once).
CREATE OR REPLACE VIEW {{audit}}.other_facts
(
    at            DateTime64(3, 'UTC') COMMENT 'When it happened. Bounding it makes any question fast',
    account       LowCardinality(String) COMMENT 'The account; empty when the record could not be understood',
    kind          String COMMENT 'retry_asked: a retry by hand took effect; retry_refused: it did not fit the delivery''s state; ended: the round ended without a try (cancelled by a deletion, hold expired); test: a test event was sent; undecodable: the record could not be understood, and lies in the dead letters',
    webhook_id    String COMMENT 'The webhook: wh_...; empty when undecodable',
    delivery_id   String COMMENT 'The delivery: del_...; empty for tests and when undecodable',
    fact_id       String COMMENT 'Names the fact: att_...; empty when undecodable',
    event_id      String COMMENT 'The event, as the receiver sees it',
    event_type    LowCardinality(String) COMMENT 'The event name',
    actor         String COMMENT 'Who asked, for retries and tests: the API key (key_...) or the token''s subject',
    request_id    String COMMENT 'The API request that asked, for retries and tests',
    end_kind      String COMMENT 'How the round ended: none, cancelled, given_up',
    end_reason    String COMMENT 'Why the round ended without a delivery',
    outcome       String COMMENT 'For tests: how they ended, as in attempts',
    status_code   UInt16 COMMENT 'For tests: HTTP status of the answer; 0 when there was none',
    url           String COMMENT 'For tests: the URL that was called',
    error         String COMMENT 'What went wrong, for people; why a record could not be understood',
    log_partition UInt16 COMMENT 'Partition of attempts in which the record lies',
    log_offset    UInt64 COMMENT 'Offset of the record',
    record_hash   UInt64 COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log'
)
AS
SELECT t.started_at AS at, t.account, toString(t.kind) AS kind, if(kind = 'undecodable', '', {{wh t.webhook_id}}) AS webhook_id,
    if(kind IN ('undecodable', 'test'), '', {{del t.delivery_id}}) AS delivery_id, if(kind = 'undecodable', '', {{att t.attempt_id}}) AS fact_id,
    t.event_id, t.event_type, toString(t.actor) AS actor, t.request_id, toString(t.end) AS end_kind, toString(t.end_reason) AS end_reason,
    toString(t.outcome) AS outcome, t.status_code, toString(t.url) AS url, toString(t.error) AS error, t.part AS log_partition, t.off AS log_offset, t.record_hash
FROM {{db}}.attempts AS t FINAL
WHERE t.kind != 'attempt'
ORDER BY t.account, t.webhook_id, t.delivery_id, t.completed, t.off
LIMIT 1 BY t.account, t.webhook_id, t.delivery_id, t.started_at, t.attempt_id, if(t.kind = 'undecodable', (t.part, t.off), (0, 0))
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'What else happened: retries by hand, ends without a try, test events, and records that could not be understood'
