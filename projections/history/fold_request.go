package history

import (
	"bytes"
	"maps"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Mark is a place among the outputs of the router: an event and a webhook.
type Mark struct {
	Offset  int64
	Webhook ids.ID
}

// Less orders marks as the router writes them.
func (m Mark) Less(o Mark) bool {
	if m.Offset != o.Offset {
		return m.Offset < o.Offset
	}
	return bytes.Compare(m.Webhook[:], o.Webhook[:]) < 0
}

// Sources is, for one partition of deliveries, the greatest mark accepted of
// each partition of events. What is not greater was written before, or was
// written again under newer subscriptions after something greater was accepted;
// the dispatcher drops it by the same rule, and it is never delivered.
type Sources map[int32]Mark

// Accept says whether a request is new, and remembers it.
func (s Sources) Accept(partition int32, m Mark) bool {
	if last, ok := s[partition]; ok && !last.Less(m) {
		return false
	}
	s[partition] = m
	return true
}

// Clone is a copy.
func (s Sources) Clone() Sources { return maps.Clone(s) }

// FoldRequest makes the row of a record of deliveries, and must see the records
// of a partition in order. It is nil for a request that was accepted before, and
// for a retry by hand, which changes nothing until the dispatcher says so. An
// error (ledger.ErrUndecodable) is a record for the dead letters.
func (s Sources) FoldRequest(r *kgo.Record) (*DeliveryRow, error) {
	c, err := ledger.DecodeCommand(r.Value)
	if err != nil {
		return nil, err
	}
	request := c.GetRequest()
	if request == nil {
		return nil, nil //nolint:nilnil // no row is an answer
	}
	subject, source := request.GetSubject(), request.GetContent().GetSource()
	webhook := ids.ID(subject.GetWebhookId())
	if !s.Accept(source.GetPartition(), Mark{source.GetOffset(), webhook}) {
		return nil, nil //nolint:nilnil // no row is an answer
	}
	d := RequestRow(subject, request.GetContent(), r.Partition, r.Offset)
	return &d, nil
}

// RequestRow is the row of an accepted request at an offset of deliveries, which
// also names its round. What waits in `lanes` says all that is needed for it.
func RequestRow(subject *facts.Subject, content *facts.Content, partition int32, offset int64) DeliveryRow {
	d := DeliveryRow{
		Account: subject.GetAccount(), Webhook: ids.ID(subject.GetWebhookId()), Delivery: ids.ID(subject.GetDeliveryId()),
		EventID: subject.GetEventId(), EventType: subject.GetEventType(), Status: Pending,
		Round: uint64(offset), Upto: uint64(offset),
		Part: uint16(partition), Off: uint64(offset),
	}
	d.CreatedMs = clampMillis(d.Delivery.Time().UnixMilli())
	d.ChangedMs = d.CreatedMs
	d.setContent(content)
	return d
}
