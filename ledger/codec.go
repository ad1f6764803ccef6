package ledger

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// A fact's value is four bytes that say what it is and the protobuf message.
// Protobuf reads much garbage as an empty message; the mark makes that an error.
var factMark = []byte{'H', 'L', 1}

// The kinds of fact, the fourth byte.
const (
	kindConfig       byte = 'c'
	kindCommand      byte = 'd'
	kindLane         byte = 'l'
	kindAttempt      byte = 'a'
	kindPassedEvents byte = 'i'
)

// ErrUndecodable is returned for a record that is not what its topic holds.
var ErrUndecodable = errors.New("record can't be decoded")

func encode(kind byte, m proto.Message) []byte {
	b := make([]byte, 0, len(factMark)+1+proto.Size(m))
	b = append(append(b, factMark...), kind)
	b, err := proto.MarshalOptions{Deterministic: true, UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil { // only for invalid UTF-8, which is checked where text comes in
		panic(fmt.Sprintf("encode a %T: %v", m, err))
	}
	return b
}

func decode(kind byte, value []byte, m proto.Message) error {
	body, ok := bytes.CutPrefix(value, factMark)
	if !ok {
		if bytes.HasPrefix(value, factMark[:2]) && len(value) > 2 {
			return fmt.Errorf("%w: format version %d, this program knows %d: upgrade it", ErrUndecodable, value[2], factMark[2])
		}
		return fmt.Errorf("%w: no fact of hookledger", ErrUndecodable)
	}
	if len(body) == 0 || body[0] != kind {
		return fmt.Errorf("%w: a fact of another kind", ErrUndecodable)
	}
	if err := proto.Unmarshal(body[1:], m); err != nil {
		return fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	return nil
}

// bad is ErrUndecodable with what is wrong.
func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUndecodable, fmt.Sprintf(format, args...))
}

// ConfigRecord is the record of a configuration fact. It panics on text that
// is not UTF-8, as all of these do: callers check what comes from outside.
func (l *Log) ConfigRecord(f *facts.ConfigFact) Record {
	key := []byte(f.GetAccount())
	return Record{Topic: Config, Partition: l.Partition(Config, key), Key: key, Value: encode(kindConfig, f)}
}

// DecodeConfig reads the value of a record of config.
func DecodeConfig(value []byte) (*facts.ConfigFact, error) {
	f := new(facts.ConfigFact)
	if err := decode(kindConfig, value, f); err != nil {
		return nil, err
	}
	if len(f.GetFactId()) != ids.Size || f.GetAccount() == "" || f.GetRules() == 0 {
		return nil, bad("a configuration fact without id, account or rules")
	}
	return f, nil
}

// WebhookPartition is the partition of deliveries, lanes and attempts that a webhook belongs to.
func (l *Log) WebhookPartition(webhook []byte) int32 { return l.Partition(Deliveries, webhook) }

// CommandRecord is the record of a delivery command.
func (l *Log) CommandRecord(c *facts.DeliveryCommand) Record {
	key := CommandSubject(c).GetWebhookId()
	return Record{Topic: Deliveries, Partition: l.WebhookPartition(key), Key: key, Value: encode(kindCommand, c)}
}

// CommandSubject is what a command is about.
func CommandSubject(c *facts.DeliveryCommand) *facts.Subject {
	if r := c.GetRetry(); r != nil {
		return r.GetSubject()
	}
	return c.GetRequest().GetSubject()
}

// DecodeCommand reads the value of a record of deliveries.
func DecodeCommand(value []byte) (*facts.DeliveryCommand, error) {
	c := new(facts.DeliveryCommand)
	if err := decode(kindCommand, value, c); err != nil {
		return nil, err
	}
	content := c.GetRequest().GetContent()
	switch c.GetCommand().(type) {
	case *facts.DeliveryCommand_Request:
	case *facts.DeliveryCommand_Retry:
		content = c.GetRetry().GetContent()
	default:
		return nil, bad("neither a request nor a retry")
	}
	if err := checkSubject(CommandSubject(c)); err != nil {
		return nil, err
	}
	if content.GetSource() == nil || len(content.GetBodyHash()) != 32 {
		return nil, bad("content without source or hash")
	}
	return c, nil
}

func checkSubject(s *facts.Subject) error {
	if len(s.GetDeliveryId()) != ids.Size || len(s.GetWebhookId()) != ids.Size || s.GetAccount() == "" {
		return bad("a subject without delivery, webhook or account")
	}
	return nil
}

// LaneRecord is a record of lanes in a partition.
func LaneRecord(partition int32, r *facts.LaneRecord) Record {
	return Record{Topic: Lanes, Partition: partition, Key: r.GetKey(), Value: encode(kindLane, r)}
}

// DecodeLane reads the value of a record of lanes.
func DecodeLane(value []byte) (*facts.LaneRecord, error) {
	r := new(facts.LaneRecord)
	if err := decode(kindLane, value, r); err != nil {
		return nil, err
	}
	if len(r.GetKey()) != ids.Size || r.GetRecord() == nil {
		return nil, bad("a lane record without key or content")
	}
	if w := r.GetWaiting(); w != nil {
		return r, checkSubject(w.GetSubject())
	}
	if c := r.GetCheckpoint(); c != nil {
		return r, checkCheckpoint(c)
	}
	return r, nil
}

// maxWindow is how far the lowest unfinished offset of a checkpoint may lie below its position: a bit is kept for each
// between. It is a hundred times what a node may have unfinished.
const maxWindow = 1 << 32

func checkCheckpoint(c *facts.Checkpoint) error {
	if p := c.GetPosition(); p < c.GetLow() || p-c.GetLow() > maxWindow {
		return bad("a checkpoint of position %d with its lowest unfinished at %d", p, c.GetLow())
	}
	left := c.GetPosition() - c.GetLow()
	for _, step := range c.GetUnfinished() {
		if step >= left {
			return bad("a checkpoint with something unfinished beyond its position %d", c.GetPosition())
		}
		left -= step
	}
	for _, m := range c.GetSources() {
		if len(m.GetWebhookId()) != ids.Size {
			return bad("a checkpoint whose mark of partition %d has no webhook", m.GetPartition())
		}
	}
	return nil
}

// AttemptRecord is a record of attempts in a partition.
func AttemptRecord(partition int32, f *facts.AttemptFact) Record {
	return Record{Topic: Attempts, Partition: partition, Key: f.GetSubject().GetWebhookId(), Value: encode(kindAttempt, f)}
}

// DecodeAttempt reads the value of a record of attempts.
func DecodeAttempt(value []byte) (*facts.AttemptFact, error) {
	f := new(facts.AttemptFact)
	if err := decode(kindAttempt, value, f); err != nil {
		return nil, err
	}
	if len(f.GetFactId()) != ids.Size || f.GetKind() == facts.FactKind_FACT_KIND_UNSPECIFIED {
		return nil, bad("a fact without id or kind")
	}
	if f.GetKind() == facts.FactKind_FACT_KIND_TEST {
		if len(f.GetSubject().GetWebhookId()) != ids.Size || f.GetSubject().GetAccount() == "" {
			return nil, bad("a test without webhook or account")
		}
		return f, nil
	}
	return f, checkSubject(f.GetSubject())
}

// PassedEventsRecord is a record of event-ids in a partition.
func PassedEventsRecord(partition int32, p *facts.PassedEvents) Record {
	return Record{Topic: EventIDs, Partition: partition, Value: encode(kindPassedEvents, p)}
}

// DecodePassedEvents reads the value of a record of event-ids.
func DecodePassedEvents(value []byte) (*facts.PassedEvents, error) {
	p := new(facts.PassedEvents)
	if err := decode(kindPassedEvents, value, p); err != nil {
		return nil, err
	}
	if len(p.GetOffsets()) == 0 || len(p.GetHashes()) != ids.Size*len(p.GetOffsets()) {
		return nil, bad("%d bytes of hashes for %d offsets", len(p.GetHashes()), len(p.GetOffsets()))
	}
	return p, nil
}
