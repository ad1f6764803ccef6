-- The states that a webhook had, one row each, from when to when. Built on
-- config_changes, so that both say the same.
CREATE OR REPLACE VIEW {{audit}}.webhook_versions
(
    account       LowCardinality(String) COMMENT 'The account',
    webhook_id    String COMMENT 'The webhook: wh_...',
    version       UInt64 COMMENT 'Counts the applied changes of the webhook from 1; what an attempt names as the one whose URL and secret it used',
    valid_from    DateTime64(3, 'UTC') COMMENT 'When the log took the change that made this state',
    valid_to      DateTime64(3, 'UTC') COMMENT 'When the log took the change that ended it; 2299-12-31 for the present one',
    name          String COMMENT 'Name of the webhook',
    url           String COMMENT 'Where it is sent to',
    events        Array(String) COMMENT 'The event names that it subscribes to',
    index_ids     Array(String) COMMENT 'The indexes that it is limited to; empty for every index',
    status        String COMMENT 'active, paused or disabled. A paused or disabled webhook still matches; its deliveries wait',
    secret_number UInt64 COMMENT 'Which of its secrets signs, counted from 1',
    metadata      String COMMENT 'JSON: its metadata; null for none',
    change        String COMMENT 'The kind of change that made this state',
    actor_kind    String COMMENT 'Kind of who made it',
    actor_id      String COMMENT 'Who made it',
    request_id    String COMMENT 'The API request that made it',
    log_partition UInt16 COMMENT 'Partition of config',
    log_offset    UInt64 COMMENT 'Offset of the record that made it'
)
AS
SELECT account, subject_id AS webhook_id, version, recorded_at AS valid_from, valid_to,
    JSONExtractString(after, 'name') AS name, JSONExtractString(after, 'url') AS url, JSONExtract(after, 'events', 'Array(String)') AS events,
    JSONExtract(after, 'index_ids', 'Array(String)') AS index_ids, JSONExtractString(after, 'status') AS status,
    JSONExtractUInt(after, 'secret_number') AS secret_number, JSONExtractRaw(after, 'metadata') AS metadata,
    change, actor_kind, actor_id, request_id, log_partition, log_offset
FROM
(
    SELECT *, leadInFrame(recorded_at, 1, toDateTime64('2299-12-31 00:00:00', 3, 'UTC')) OVER
        (PARTITION BY account, subject_id ORDER BY log_offset ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS valid_to
    FROM {{audit}}.config_changes
    WHERE subject = 'webhook' AND applied
)
WHERE after != ''
COMMENT 'Every state that a webhook had, from when to when'
