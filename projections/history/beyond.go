package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// What the history knows of records that the log may have lost: questions of
// `hookledger repair`.

// EventRecord is a record of events as the history has it.
type EventRecord struct {
	Offset int64
	Time   time.Time
	Event  event.Event
}

// EventRecords are the accepted records of a partition of events with offsets
// from from to below to.
func (h *History) EventRecords(ctx context.Context, part int32, from, to int64) ([]EventRecord, error) {
	rows, err := h.conn.Query(h.computing(ctx), h.sql(fmt.Sprintf(
		"SELECT off, record_time, account, event_id, event_type, index_id, ordering_key, source, created_at, fresh, data"+
			" FROM {{db}}.events FINAL WHERE part = %d AND off >= %d AND off < %d AND status != 'invalid' ORDER BY off", part, from, to)))
	if err != nil {
		return nil, fmt.Errorf("ask the history for events: %w", err)
	}
	defer rows.Close()
	var all []EventRecord
	for rows.Next() {
		var r EventRecord
		var off uint64
		var data string
		e := &r.Event
		if err := rows.Scan(&off, &r.Time, &e.Account, &e.ID, &e.Type, &e.IndexID, &e.OrderingKey, &e.Source, &e.CreatedAt, &e.Fresh, &data); err != nil {
			return nil, fmt.Errorf("read events of the history: %w", err)
		}
		r.Offset, e.Data = int64(off), []byte(data)
		all = append(all, r)
	}
	return all, rows.Err()
}

// Routed are the offsets, from from to below to, of a partition of events of
// which there is a delivery.
func (h *History) Routed(ctx context.Context, part int32, from, to int64) (map[int64]bool, error) {
	rows, err := h.conn.Query(h.computing(ctx), h.sql(fmt.Sprintf(
		"SELECT DISTINCT source_off FROM {{db}}.deliveries WHERE source_part = %d AND source_off >= %d AND source_off < %d", part, from, to)))
	if err != nil {
		return nil, fmt.Errorf("ask the history what was routed: %w", err)
	}
	defer rows.Close()
	found := make(map[int64]bool)
	for rows.Next() {
		var off uint64
		if err := rows.Scan(&off); err != nil {
			return nil, fmt.Errorf("ask the history what was routed: %w", err)
		}
		found[int64(off)] = true
	}
	return found, rows.Err()
}

// AttemptRecord is a record of attempts as the history has it.
type AttemptRecord struct {
	Offset int64
	Time   time.Time
	Fact   *facts.AttemptFact
}

// AttemptRecords are the records of a partition of attempts with offsets from
// from to below to. What the rows don't hold (reopened) is not in the facts.
func (h *History) AttemptRecords(ctx context.Context, part int32, from, to int64) ([]AttemptRecord, error) {
	where := fmt.Sprintf("part = %d AND off >= %d AND off < %d AND kind != 'undecodable'", part, from, to)
	rows, err := h.conn.Query(h.computing(ctx), h.sql(
		"SELECT a.off, a.record_time, a.attempt_id, a.kind, a.epoch, a.delivery_id, a.webhook_id, a.account, a.event_id, a.event_type,"+
			" d.source_part, d.source_off, d.metadata_offset, d.body_hash, d.body_size,"+
			" a.round, a.attempt, a.outcome, a.end, a.end_reason, a.upto, a.maybe_repeat, a.request_sent, a.started_at, a.duration_us, a.status_code,"+
			" a.response_headers, a.response_body, a.body_truncated, a.body_cut, a.error, a.next_retry_at, a.url, a.webhook_version, a.actor, a.request_id,"+
			" a.round_started_at, a.completed, a.command_offset"+
			" FROM (SELECT *, record_time FROM {{db}}.attempts FINAL WHERE "+where+") AS a"+
			" LEFT JOIN (SELECT delivery_id, source_part, source_off, metadata_offset, body_hash, body_size FROM {{db}}.deliveries FINAL"+
			" WHERE delivery_id IN (SELECT delivery_id FROM {{db}}.attempts WHERE "+where+")) AS d ON a.delivery_id = d.delivery_id ORDER BY a.off"))
	if err != nil {
		return nil, fmt.Errorf("ask the history for attempts: %w", err)
	}
	defer rows.Close()
	var all []AttemptRecord
	for rows.Next() {
		r := AttemptRecord{Fact: &facts.AttemptFact{Subject: &facts.Subject{}, Content: &facts.Content{Source: &facts.Source{}}}}
		f, s, c := r.Fact, r.Fact.GetSubject(), r.Fact.GetContent()
		var off, sourceOff uint64
		var id, delivery, webhook [16]byte
		var kind, outcome, end, reason int8
		var sourcePart, status uint16
		var hash [32]byte
		var started, next, roundStarted time.Time
		var headers, body string
		if err := rows.Scan(&off, &r.Time, &id, &kind, &f.Epoch, &delivery, &webhook, &s.Account, &s.EventId, &s.EventType,
			&sourcePart, &sourceOff, &c.MetadataOffset, &hash, &c.BodySize,
			&f.Round, &f.Attempt, &outcome, &end, &reason, &f.Upto, &f.MaybeRepeat, &f.RequestSent, &started, &f.DurationUs, &status,
			&headers, &body, &f.BodyTruncated, &f.BodyCut, &f.Error, &next, &f.Url, &f.WebhookVersion, &f.Actor, &f.RequestId,
			&roundStarted, &f.Completed, &f.CommandOffset); err != nil {
			return nil, fmt.Errorf("read attempts of the history: %w", err)
		}
		r.Offset, f.FactId, f.Kind = int64(off), id[:], facts.FactKind(kind)
		s.DeliveryId, s.WebhookId = delivery[:], webhook[:]
		if f.Kind == facts.FactKind_FACT_KIND_TEST {
			s.DeliveryId = make([]byte, ids.Size)
		} else {
			s.CreatedMs = ids.ID(delivery).Time().UnixMilli()
		}
		c.Source.Partition, c.Source.Offset, c.BodyHash = int32(sourcePart), int64(sourceOff), hash[:]
		f.Outcome, f.End, f.EndReason = facts.Outcome(outcome), facts.End(end), facts.EndReason(reason)
		f.StartedMs, f.NextRetryMs, f.RoundStartedMs = started.UnixMilli(), next.UnixMilli(), roundStarted.UnixMilli()
		f.StatusCode, f.ResponseBody = uint32(status), []byte(body)
		if headers != "" {
			var pairs [][2]string
			if err := json.Unmarshal([]byte(headers), &pairs); err != nil {
				return nil, fmt.Errorf("read attempts of the history: response headers: %w", err)
			}
			for _, p := range pairs {
				f.ResponseHeaders = append(f.ResponseHeaders, &facts.Header{Name: p[0], Value: p[1]})
			}
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// GreatestEpoch is the greatest epoch that a fact of a partition names.
func (h *History) GreatestEpoch(ctx context.Context, part int32) (epoch uint64, err error) {
	row := h.conn.QueryRow(h.computing(ctx), h.sql(fmt.Sprintf("SELECT max(epoch) FROM {{db}}.attempts WHERE part = %d", part)))
	if err = row.Scan(&epoch); err != nil {
		err = fmt.Errorf("ask the history for the newest epoch of attempts/%d: %w", part, err)
	}
	return epoch, err
}

// Open returns every delivery whose round has not ended.
func (h *History) Open(ctx context.Context) ([]Delivery, error) {
	found, err := h.deliveries(ctx, "end = 'none' AND status IN ('pending', 'retrying')")
	if err != nil {
		return nil, fmt.Errorf("ask the history for open deliveries: %w", err)
	}
	return found, h.addTries(ctx, found)
}

// LostChange is a record of config as the history has it: what, and about whom.
type LostChange struct {
	Offset                    int64
	Account, Subject, Kind    string
	At                        time.Time
	Actor, RequestID, Verdict string
}

// ChangesBeyond are the records of a partition of config from an offset on.
func (h *History) ChangesBeyond(ctx context.Context, part int32, from int64) ([]LostChange, error) {
	rows, err := h.conn.Query(h.computing(ctx), h.sql(fmt.Sprintf(
		"SELECT off, account, subject_id, toString(change), at, actor_id, request_id, toString(verdict)"+
			" FROM {{db}}.config_changes FINAL WHERE part = %d AND off >= %d ORDER BY off", part, from)))
	if err != nil {
		return nil, fmt.Errorf("ask the history for changes: %w", err)
	}
	defer rows.Close()
	var all []LostChange
	for rows.Next() {
		var c LostChange
		var off uint64
		if err := errors.Join(rows.Scan(&off, &c.Account, &c.Subject, &c.Kind, &c.At, &c.Actor, &c.RequestID, &c.Verdict)); err != nil {
			return nil, fmt.Errorf("read changes of the history: %w", err)
		}
		c.Offset = int64(off)
		all = append(all, c)
	}
	return all, rows.Err()
}
