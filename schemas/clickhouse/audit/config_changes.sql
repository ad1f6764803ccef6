-- One row per record of the topic config, with the state of its subject before
-- and after it. The records carry what was asked for; what was there before is
-- folded here from the subject's earlier applied records, in their order in the
-- log, as projections/subscriptions does it. A test holds this fold against that one.
--
-- A rotation of an API key is one record about two keys: the row is the old
-- key's, and the new key's later rows begin from it.
CREATE OR REPLACE VIEW {{audit}}.config_changes
(
    recorded_at      DateTime64(3, 'UTC') COMMENT 'When the log took the change: the time of its record',
    account          LowCardinality(String) COMMENT 'The account. First in the order of the table: naming it makes any question fast',
    subject          String COMMENT 'What kind of thing was changed: webhook, api_key; call for a test or retry made under an Idempotency-Key, which changes nothing',
    subject_id       String COMMENT 'What was changed: wh_... or key_...; for a call its target; of an answered call empty',
    change           String COMMENT 'What was asked for: webhook_created, webhook_updated (pause and resume too), webhook_disabled, secret_rotated, webhook_deleted, api_key_created, api_key_rotated, api_key_revoked, api_key_deleted, call_started, call_answered',
    applied          Bool COMMENT 'Whether it took effect. What did not left before and after alike',
    verdict          String COMMENT 'What the fold said: applied; repeat and mismatch (of an Idempotency-Key); in_progress; conflict (the version had moved on); not_found; limit; invalid',
    actor_kind       String COMMENT 'Kind of who asked: api_key, token, operator (a command line on the machine), system (Hookledger itself)',
    actor_id         String COMMENT 'Who asked: the API key (key_...), the token''s subject, or the component',
    request_id       String COMMENT 'The API request that asked, as in its X-Request-ID and in the service''s logs; empty for the system',
    requested_at     DateTime64(3, 'UTC') COMMENT 'Clock of the node that asked',
    changed          Array(String) COMMENT 'Names of the fields in which after differs from before; of a new or deleted subject all of them',
    before           String COMMENT 'JSON: the subject before, empty if there was none. Never a secret: secret_number counts a webhook''s secrets from 1, so that a rotation shows',
    after            String COMMENT 'JSON: the subject after, empty if it is gone',
    requested        String COMMENT 'JSON: what the record itself carries, also of a change that was refused',
    requested_fields Array(LowCardinality(String)) COMMENT 'Names of the fields that an update set, whether or not they differed',
    expected_version UInt64 COMMENT 'Version of the webhook that the change expected; 0 for any',
    version          UInt64 COMMENT 'Version of the webhook after the record; 0 for what is no webhook',
    change_id        String COMMENT 'Names the record: chg_...',
    log_partition    UInt16 COMMENT 'Partition of config in which the record lies; an account''s records all lie in one',
    log_offset       UInt64 COMMENT 'Offset of the record: the order of an account''s changes',
    record_hash      UInt64 COMMENT 'Hash of the whole record, which `hookledger verify` recomputes from the log'
)
AS
WITH
    ['name', 'url', 'events', 'index_ids', 'status', 'disabled_reason', 'metadata', 'secret_number'] AS webhook_fields,
    ['name', 'scopes', 'expires_at', 'revoked_at', 'replaced_by'] AS key_fields
SELECT recorded_at, account, subject, subject_id, change, applied, verdict, actor_kind, actor_id, request_id, requested_at,
    arrayFilter(f -> JSONExtractRaw(before, f) != JSONExtractRaw(after, f), multiIf(subject = 'webhook', webhook_fields, subject = 'api_key', key_fields, [])) AS changed,
    before, after, requested, requested_fields, expected_version, version, change_id, log_partition, log_offset, record_hash
FROM
(
    -- Webhooks.
    SELECT record_time AS recorded_at, account, 'webhook' AS subject, subject_id, toString(change) AS change, is_applied AS applied, toString(verdict) AS verdict,
        toString(actor_kind) AS actor_kind, toString(actor_id) AS actor_id, request_id, at AS requested_at,
        lagInFrame(state_after, 1, '') OVER (PARTITION BY account, subject_id ORDER BY off ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before,
        state_after AS after, state AS requested, fields AS requested_fields, expected_version, changes AS version,
        {{chg fact_id}} AS change_id, part AS log_partition, off AS log_offset, record_hash
    FROM
    (
        SELECT *, if(whole = '' OR gone, '', concat(
            '{"name":', JSONExtractRaw(whole, 'name'), ',"url":', JSONExtractRaw(whole, 'url'), ',"events":', JSONExtractRaw(whole, 'events'),
            ',"index_ids":', JSONExtractRaw(whole, 'index_ids'), ',"status":', toJSONString(last_status),
            ',"disabled_reason":', if(last_status != 'disabled' OR last_reason = '', 'null', toJSONString(last_reason)), ',"metadata":', if(last_metadata = '', 'null', last_metadata),
            ',"secret_number":', toString(secrets), ',"version":', toString(changes), '}')) AS state_after
        FROM
        (
            SELECT account, subject_id, change, verdict, fact_id, actor_kind, actor_id, request_id, at, expected_version, fields, state, part, off, record_time, record_hash,
                verdict = 'applied' AS is_applied,
                is_applied AND change IN ('webhook_created', 'webhook_updated') AS is_whole,
                is_applied AND change = 'webhook_disabled' AS is_disabling,
                ifNull(last_value(if(is_whole, state, NULL)) IGNORE NULLS OVER subject_so_far, '') AS whole,
                ifNull(last_value(if(is_whole, metadata, NULL)) IGNORE NULLS OVER subject_so_far, '') AS last_metadata,
                ifNull(last_value(multiIf(is_whole, JSONExtractString(state, 'status'), is_disabling, 'disabled', NULL)) IGNORE NULLS OVER subject_so_far, '') AS last_status,
                ifNull(last_value(if(is_disabling, JSONExtractString(state, 'reason'), NULL)) IGNORE NULLS OVER subject_so_far, '') AS last_reason,
                countIf(is_applied AND change != 'webhook_deleted') OVER subject_so_far AS changes,
                countIf(is_applied AND change IN ('webhook_created', 'secret_rotated')) OVER subject_so_far AS secrets,
                countIf(is_applied AND change = 'webhook_deleted') OVER subject_so_far > 0 AS gone
            FROM {{db}}.config_changes FINAL
            WHERE change IN ('webhook_created', 'webhook_updated', 'webhook_disabled', 'secret_rotated', 'webhook_deleted')
            WINDOW subject_so_far AS (PARTITION BY account, subject_id ORDER BY off ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        )
    )

    UNION ALL

    -- API keys. A rotation is looked at twice: it ends the old key and begins the new one.
    SELECT record_time, account, 'api_key', subject_id, toString(change), is_applied, toString(verdict), toString(actor_kind), toString(actor_id), request_id, at,
        before, state_after, state, fields, expected_version, 0, {{chg fact_id}}, part, off, record_hash
    FROM
    (
        SELECT *, lagInFrame(state_after, 1, '') OVER (PARTITION BY account, about ORDER BY off ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before
        FROM
        (
            SELECT *, if(whole = '' OR gone, '', concat(
                '{"name":', JSONExtractRaw(whole, 'name'), ',"key_prefix":', JSONExtractRaw(whole, 'key_prefix'), ',"scopes":', JSONExtractRaw(whole, 'scopes'),
                ',"created_at":', {{json_time JSONExtractInt(whole, 'created_ms')}}, ',"expires_at":', {{json_time JSONExtractInt(whole, 'expires_ms')}},
                ',"revoked_at":', {{json_time revoked}}, ',"replaced_by":', if(replaced_by = '', 'null', toJSONString(replaced_by)), '}')) AS state_after
            FROM
            (
                SELECT account, subject_id, change, verdict, fact_id, actor_kind, actor_id, request_id, at, expected_version, fields, state, part, off, record_time, record_hash,
                    verdict = 'applied' AS is_applied, about,
                    is_applied AND (change = 'api_key_created' OR about != subject_id) AS is_whole,
                    is_applied AND about = subject_id AND change IN ('api_key_rotated', 'api_key_revoked') AS is_end,
                    ifNull(last_value(if(is_whole, state, NULL)) IGNORE NULLS OVER key_so_far, '') AS whole,
                    ifNull(first_value(if(is_end, toUnixTimestamp64Milli(at), NULL)) IGNORE NULLS OVER key_so_far, 0) AS revoked,
                    maxIf(JSONExtractString(state, 'key_id'), is_end AND change = 'api_key_rotated') OVER key_so_far AS replaced_by,
                    countIf(is_applied AND change = 'api_key_deleted') OVER key_so_far > 0 AS gone
                FROM {{db}}.config_changes FINAL
                ARRAY JOIN if(change = 'api_key_rotated', [subject_id, JSONExtractString(state, 'key_id')], [subject_id]) AS about
                WHERE change IN ('api_key_created', 'api_key_rotated', 'api_key_revoked', 'api_key_deleted')
                WINDOW key_so_far AS (PARTITION BY account, about ORDER BY off ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
            )
        )
    )
    WHERE about = subject_id

    UNION ALL

    -- Calls.
    SELECT record_time, account, 'call', subject_id, toString(change), verdict = 'applied', toString(verdict), toString(actor_kind), toString(actor_id), request_id, at,
        '', '', state, fields, expected_version, 0, {{chg fact_id}}, part, off, record_hash
    FROM {{db}}.config_changes FINAL
    WHERE change IN ('call_started', 'call_answered')
)
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Every change of configuration: who, when, by which request, before and after. Exact: one row per record of the topic config'
