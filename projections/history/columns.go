package history

import "hookledger/ledger/ids"

// The columns that are inserted, by table. A test compares them with the
// migrations: every column that has no default of its own is here once.

func attemptColumns() []columnOf[AttemptRow] {
	type r = AttemptRow
	return []columnOf[r]{
		of("account", func(a *r) string { return a.Account }),
		idOf("webhook_id", func(a *r) *ids.ID { return &a.Webhook }),
		idOf("delivery_id", func(a *r) *ids.ID { return &a.Delivery }),
		of("event_id", func(a *r) string { return a.EventID }),
		of("event_type", func(a *r) string { return a.EventType }),
		idOf("attempt_id", func(a *r) *ids.ID { return &a.AttemptID }),
		of("kind", func(a *r) int8 { return a.Kind }),
		of("attempt", func(a *r) uint32 { return a.Attempt }),
		of("outcome", func(a *r) int8 { return a.Outcome }),
		of("status_code", func(a *r) uint16 { return a.StatusCode }),
		of("request_sent", func(a *r) bool { return a.RequestSent }),
		of("maybe_repeat", func(a *r) bool { return a.MaybeRepeat }),
		of("url", func(a *r) string { return a.URL }),
		of("webhook_version", func(a *r) uint64 { return a.WebhookVersion }),
		of("started_at", func(a *r) int64 { return a.StartedMs }),
		of("duration_us", func(a *r) uint32 { return a.DurationUs }),
		of("response_headers", func(a *r) string { return a.Headers }),
		of("response_body", func(a *r) []byte { return a.Body }),
		of("body_truncated", func(a *r) bool { return a.Truncated }),
		of("body_cut", func(a *r) bool { return a.Cut }),
		of("error", func(a *r) string { return a.Error }),
		of("round", func(a *r) uint64 { return a.Round }),
		of("end", func(a *r) int8 { return a.End }),
		of("end_reason", func(a *r) int8 { return a.EndReason }),
		of("next_retry_at", func(a *r) int64 { return a.NextRetryMs }),
		of("round_started_at", func(a *r) int64 { return a.RoundStartedMs }),
		of("upto", func(a *r) uint64 { return a.Upto }),
		of("epoch", func(a *r) uint64 { return a.Epoch }),
		of("command_offset", func(a *r) uint64 { return a.CommandOffset }),
		of("completed", func(a *r) bool { return a.Completed }),
		of("actor", func(a *r) string { return a.Actor }),
		of("request_id", func(a *r) string { return a.RequestID }),
		of("part", func(a *r) uint16 { return a.Part }),
		of("off", func(a *r) uint64 { return a.Off }),
		of("record_lag_ms", func(a *r) int64 { return a.RecordLagMs }),
		of("record_hash", func(a *r) uint64 { return a.RecordHash }),
	}
}

func deliveryColumns() []columnOf[DeliveryRow] {
	type r = DeliveryRow
	return []columnOf[r]{
		of("account", func(d *r) string { return d.Account }),
		idOf("webhook_id", func(d *r) *ids.ID { return &d.Webhook }),
		idOf("delivery_id", func(d *r) *ids.ID { return &d.Delivery }),
		of("event_id", func(d *r) string { return d.EventID }),
		of("event_type", func(d *r) string { return d.EventType }),
		of("status", func(d *r) int8 { return int8(d.Status) }),
		of("round", func(d *r) uint64 { return d.Round }),
		of("end", func(d *r) int8 { return d.End }),
		of("end_reason", func(d *r) int8 { return d.EndReason }),
		of("attempt", func(d *r) uint32 { return d.Attempt }),
		of("upto", func(d *r) uint64 { return d.Upto }),
		of("created_at", func(d *r) int64 { return d.CreatedMs }),
		of("changed_at", func(d *r) int64 { return d.ChangedMs }),
		of("next_retry_at", func(d *r) int64 { return d.NextRetryMs }),
		of("completed_at", func(d *r) int64 { return d.CompletedMs }),
		of("source_part", func(d *r) uint16 { return d.SourcePart }),
		of("source_off", func(d *r) uint64 { return d.SourceOff }),
		of("metadata_offset", func(d *r) int64 { return d.MetadataOffset }),
		rawOf("body_hash", func(d *r) []byte { return d.BodyHash[:] }),
		of("body_size", func(d *r) uint32 { return d.BodySize }),
		of("is_fact", func(d *r) bool { return d.IsFact }),
		of("epoch", func(d *r) uint64 { return d.Epoch }),
		of("completed", func(d *r) bool { return d.Completed }),
		of("part", func(d *r) uint16 { return d.Part }),
		of("off", func(d *r) uint64 { return d.Off }),
	}
}

func eventColumns() []columnOf[EventRow] {
	type r = EventRow
	return []columnOf[r]{
		of("account", func(e *r) string { return e.Account }),
		idOf("event_key", func(e *r) *ids.ID { return &e.EventKey }),
		of("event_id", func(e *r) string { return e.EventID }),
		of("event_type", func(e *r) string { return e.EventType }),
		of("index_id", func(e *r) string { return e.IndexID }),
		of("ordering_key", func(e *r) string { return e.OrderingKey }),
		of("source", func(e *r) string { return e.EventSource }),
		of("created_at", func(e *r) int64 { return e.CreatedMs }),
		of("fresh", func(e *r) bool { return e.Fresh }),
		of("data", func(e *r) []byte { return e.Data }),
		of("status", func(e *r) int8 { return int8(e.Status) }),
		of("reason", func(e *r) string { return e.Reason }),
		of("part", func(e *r) uint16 { return e.Part }),
		of("off", func(e *r) uint64 { return e.Off }),
		of("record_time", func(e *r) int64 { return e.RecordMs }),
		of("record_hash", func(e *r) uint64 { return e.RecordHash }),
		of("ver", func(e *r) uint8 { return e.Ver }),
	}
}

func configColumns() []columnOf[ConfigRow] {
	type r = ConfigRow
	return []columnOf[r]{
		of("account", func(c *r) string { return c.Account }),
		of("subject_id", func(c *r) string { return c.SubjectID }),
		of("change", func(c *r) int8 { return c.Change }),
		of("verdict", func(c *r) int8 { return c.Verdict }),
		idOf("fact_id", func(c *r) *ids.ID { return &c.FactID }),
		of("rules", func(c *r) uint32 { return c.Rules }),
		of("actor_kind", func(c *r) int8 { return c.ActorKind }),
		of("actor_id", func(c *r) string { return c.ActorID }),
		of("request_id", func(c *r) string { return c.RequestID }),
		of("at", func(c *r) int64 { return c.AtMs }),
		of("expected_version", func(c *r) uint64 { return c.ExpectedVersion }),
		of("version", func(c *r) uint64 { return c.Version }),
		of("fields", func(c *r) []string { return c.Fields }),
		of("state", func(c *r) string { return c.State }),
		of("metadata", func(c *r) []byte { return c.Metadata }),
		of("part", func(c *r) uint16 { return c.Part }),
		of("off", func(c *r) uint64 { return c.Off }),
		of("record_time", func(c *r) int64 { return c.RecordMs }),
		of("record_hash", func(c *r) uint64 { return c.RecordHash }),
	}
}
