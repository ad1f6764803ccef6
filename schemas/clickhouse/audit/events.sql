-- One row per record of the topic events, with what became of it. A repeat with
-- the same content leaves no trace but its own record, so it is judged here as
-- the router judges it and as projections/history does for the API: the same
-- account, ordering key and id as an accepted record, in its hour of record time
-- or the 24 after it, unless the id was drawn for the record.
CREATE OR REPLACE VIEW {{audit}}.events
(
    recorded_at   DateTime64(3, 'UTC') COMMENT 'When the log took the event: created_at of its deliveries',
    account       LowCardinality(String) COMMENT 'The account; empty when the record does not say. First in the order of the table: naming it makes any question fast',
    event_id      String COMMENT 'The event id: the publisher''s own, or evt_...',
    event_type    LowCardinality(String) COMMENT 'The event name',
    status        String COMMENT 'accepted: it went to every webhook that matched; repeat: the same event again, which changed nothing; refused: it lies in the dead letters, see reason',
    reason        String COMMENT 'Why it was refused: it is no event, or its id was used for another content',
    index_id      String COMMENT 'The index; empty for none, then index_ids of webhooks do not count',
    ordering_key  String COMMENT 'The ordering key; empty for none',
    source        String COMMENT 'Who published it (ce_source); hookledger-api for the API',
    created_at    DateTime64(3, 'UTC') COMMENT 'When it happened, as the publisher says',
    data          String COMMENT 'The published JSON, byte for byte',
    log_partition UInt16 COMMENT 'Partition of events in which the record lies',
    log_offset    UInt64 COMMENT 'Offset of the record',
    record_hash   UInt64 COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log'
)
AS
SELECT record_time AS recorded_at, account, event_id, event_type,
    multiIf(state != 'accepted', 'refused',
        length(accepted_so_far) > 1 AND arrayFold((fold, r) -> if(NOT r.2 AND r.1 - fold.1 <= 24, (fold.1, true), (r.1, false)), accepted_so_far, (toInt64(-1000), false)).2, 'repeat',
        'accepted') AS status,
    toString(reason_text) AS reason, index_id, ordering_key, toString(source) AS source, created_at, data, part AS log_partition, off AS log_offset, record_hash
FROM
(
    SELECT t.record_time, t.account, t.event_key, t.event_id, t.event_type, t.status AS state, t.reason AS reason_text, t.index_id, t.ordering_key, t.source, t.created_at, t.data, t.part, t.off, t.record_hash,
        groupArrayIf((toInt64(intDiv(toUnixTimestamp(t.record_time), 3600)), t.fresh), t.status = 'accepted')
            OVER (PARTITION BY t.account, t.event_key ORDER BY t.part, t.off ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS accepted_so_far
    FROM {{db}}.events AS t FINAL
    {{where}}
)
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Every event that was published: accepted, repeated or refused, and why'
