package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// maxMillis is the latest time that every table can hold and partition by:
// 2100-01-01. Times beyond it, and before 1970, are cut to the bounds.
const maxMillis = 4_102_444_800_000

func clampMillis(ms int64) int64 { return min(max(ms, 0), maxMillis) }

// maxOffset bounds the offsets that a state's version holds (48 bits).
const maxOffset = 1<<48 - 1

// FoldAttempt makes the rows of a record of attempts: one for attempts always,
// and one for deliveries if the fact is a moment of a delivery's life. For a
// record that can't be understood it returns a row that says so, and an error
// (ledger.ErrUndecodable): the record belongs to the dead letters too.
func FoldAttempt(r *kgo.Record) (AttemptRow, *DeliveryRow, error) {
	row := AttemptRow{
		Part: uint16(r.Partition), Off: uint64(r.Offset), RecordHash: RecordHash(r),
	}
	recordMs := clampMillis(r.Timestamp.UnixMilli())
	f, err := ledger.DecodeAttempt(r.Value)
	if err == nil {
		err = checkFact(f)
	}
	if err != nil {
		row.Kind, row.Error, row.StartedMs = kindUndecodable, err.Error(), recordMs
		return row, nil, err
	}
	s := f.GetSubject()
	row.Account, row.EventID, row.EventType = s.GetAccount(), s.GetEventId(), s.GetEventType()
	row.Webhook = ids.ID(s.GetWebhookId())
	if f.GetKind() != facts.FactKind_FACT_KIND_TEST {
		row.Delivery = ids.ID(s.GetDeliveryId())
	}
	row.AttemptID = ids.ID(f.GetFactId())
	row.Kind = int8(f.GetKind())
	row.Outcome = int8(f.GetOutcome())
	row.End = int8(f.GetEnd())
	row.EndReason = int8(f.GetEndReason())
	row.Attempt = f.GetAttempt()
	row.StatusCode = uint16(min(f.GetStatusCode(), math.MaxUint16))
	row.RequestSent, row.MaybeRepeat = f.GetRequestSent(), f.GetMaybeRepeat()
	row.URL, row.WebhookVersion = f.GetUrl(), f.GetWebhookVersion()
	row.StartedMs = clampMillis(f.GetStartedMs())
	row.RecordLagMs = recordMs - row.StartedMs
	row.DurationUs = f.GetDurationUs()
	row.Headers = headersJSON(f.GetResponseHeaders())
	row.Body, row.Truncated, row.Cut = f.GetResponseBody(), f.GetBodyTruncated(), f.GetBodyCut()
	row.Error = f.GetError()
	row.Round, row.Upto, row.Epoch = f.GetRound(), f.GetUpto(), f.GetEpoch()
	row.NextRetryMs = clampMillis(f.GetNextRetryMs())
	row.RoundStartedMs = clampMillis(f.GetRoundStartedMs())
	row.CommandOffset, row.Completed = f.GetCommandOffset(), f.GetCompleted()
	row.Actor, row.RequestID = f.GetActor(), f.GetRequestId()
	return row, stateOf(&row, f), nil
}

// checkFact refuses what the tables can't hold: a fact of a newer program, or
// of a faulty one.
func checkFact(f *facts.AttemptFact) error {
	switch {
	case facts.FactKind_name[int32(f.GetKind())] == "", facts.Outcome_name[int32(f.GetOutcome())] == "",
		facts.End_name[int32(f.GetEnd())] == "", facts.EndReason_name[int32(f.GetEndReason())] == "":
		return fmt.Errorf("%w: kind %d, outcome %d, end %d or reason %d is not known to this program: upgrade it",
			ledger.ErrUndecodable, f.GetKind(), f.GetOutcome(), f.GetEnd(), f.GetEndReason())
	case max(f.GetRound(), f.GetUpto(), f.GetEpoch()) > maxOffset:
		return fmt.Errorf("%w: round %d, upto %d or epoch %d is no offset",
			ledger.ErrUndecodable, f.GetRound(), f.GetUpto(), f.GetEpoch())
	}
	return nil
}

// stateOf is the moment of the delivery that a fact stands for; nil for those
// that are none: a refused retry, a test.
func stateOf(a *AttemptRow, f *facts.AttemptFact) *DeliveryRow {
	d := &DeliveryRow{
		Account: a.Account, Webhook: a.Webhook, Delivery: a.Delivery, EventID: a.EventID, EventType: a.EventType,
		Round: a.Round, End: a.End, EndReason: a.EndReason, Attempt: a.Attempt, Upto: a.Upto, Epoch: a.Epoch,
		CreatedMs: clampMillis(a.Delivery.Time().UnixMilli()), ChangedMs: a.StartedMs,
		IsFact: true, Completed: a.Completed, Part: a.Part, Off: a.Off,
	}
	d.setContent(f.GetContent())
	switch f.GetKind() {
	case facts.FactKind_FACT_KIND_ATTEMPT:
		d.ChangedMs = clampMillis(a.StartedMs + int64(a.DurationUs)/1000)
	case facts.FactKind_FACT_KIND_ENDED, facts.FactKind_FACT_KIND_RETRY_ASKED:
	case facts.FactKind_FACT_KIND_UNSPECIFIED, facts.FactKind_FACT_KIND_RETRY_REFUSED, facts.FactKind_FACT_KIND_TEST:
		return nil
	}
	switch {
	case f.GetEnd() == facts.End_END_DELIVERED:
		d.Status = Delivered
	case f.GetEnd() != facts.End_END_UNSPECIFIED:
		d.Status = Failed
	case a.Attempt == 0 && !opensRound(f):
		d.Status = Pending // a retry asked for while none was made
	default:
		d.Status = Retrying
	}
	if f.GetEnd() == facts.End_END_UNSPECIFIED {
		d.NextRetryMs = a.NextRetryMs
	} else {
		d.CompletedMs = d.ChangedMs
	}
	return d
}

// opensRound says whether the fact is the retry by hand that opened its round: a
// new round is retrying even if no try was made in the one before.
func opensRound(f *facts.AttemptFact) bool {
	return f.GetKind() == facts.FactKind_FACT_KIND_RETRY_ASKED && f.GetCommandOffset() == f.GetRound()
}

func (d *DeliveryRow) setContent(c *facts.Content) {
	d.SourcePart = uint16(c.GetSource().GetPartition())
	d.SourceOff = uint64(c.GetSource().GetOffset())
	d.MetadataOffset, d.BodySize = c.GetMetadataOffset(), c.GetBodySize()
	copy(d.BodyHash[:], c.GetBodyHash())
}

// headersJSON is [[name, value], ...]; empty for none.
func headersJSON(headers []*facts.Header) string {
	if len(headers) == 0 {
		return ""
	}
	pairs := make([][2]string, len(headers))
	for i, h := range headers {
		pairs[i] = [2]string{h.GetName(), h.GetValue()}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(pairs); err != nil { // strings can't fail
		panic(fmt.Sprintf("encode response headers: %v", err))
	}
	return string(bytes.TrimRight(b.Bytes(), "\n"))
}
