package ledger_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

func id(b byte) []byte { return bytes.Repeat([]byte{b}, 16) }

func subject() *facts.Subject {
	return &facts.Subject{DeliveryId: id(1), WebhookId: id(2), Account: "acct", EventId: "e", EventType: "export.ready", CreatedMs: 5}
}

func content() *facts.Content {
	return &facts.Content{Source: &facts.Source{Partition: 1, Offset: 2}, MetadataOffset: -1, BodyHash: make([]byte, 32), BodySize: 3}
}

// codecs lists every kind of fact: how it is encoded and decoded, and one that is whole.
func codecs(l *ledger.Log) map[string]struct {
	record ledger.Record
	fact   proto.Message
	decode func([]byte) (proto.Message, error)
} {
	type codec = struct {
		record ledger.Record
		fact   proto.Message
		decode func([]byte) (proto.Message, error)
	}
	config := &facts.ConfigFact{FactId: id(3), Rules: 1, Account: "acct", RequestId: "req", AtMs: 9}
	request := &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Request{Request: &facts.DeliveryRequest{Subject: subject(), Content: content(), Body: []byte("{}")}}}
	retry := &facts.DeliveryCommand{Command: &facts.DeliveryCommand_Retry{Retry: &facts.DeliveryRetry{Subject: subject(), Content: content(), Round: 7}}}
	waiting := &facts.LaneRecord{Key: id(4), Epoch: 3, Record: &facts.LaneRecord_Waiting{Waiting: &facts.Waiting{Subject: subject(), Content: content()}}}
	owner := &facts.LaneRecord{Key: id(4), Record: &facts.LaneRecord_Owner{Owner: &facts.Owner{Generation: 2, Node: "n"}}}
	attempt := &facts.AttemptFact{FactId: id(5), Kind: facts.FactKind_FACT_KIND_ATTEMPT, Subject: subject(), Outcome: facts.Outcome_OUTCOME_DELIVERED}
	tested := &facts.AttemptFact{FactId: id(5), Kind: facts.FactKind_FACT_KIND_TEST, Subject: &facts.Subject{WebhookId: id(2), Account: "acct"}}
	passed := &facts.PassedEvents{Hashes: append(id(6), id(7)...), Offsets: []uint64{4, 3}, TimeMs: 8}
	return map[string]codec{
		"config":  {l.ConfigRecord(config), config, func(b []byte) (proto.Message, error) { return ledger.DecodeConfig(b) }},
		"request": {l.CommandRecord(request), request, func(b []byte) (proto.Message, error) { return ledger.DecodeCommand(b) }},
		"retry":   {l.CommandRecord(retry), retry, func(b []byte) (proto.Message, error) { return ledger.DecodeCommand(b) }},
		"waiting": {ledger.LaneRecord(2, waiting), waiting, func(b []byte) (proto.Message, error) { return ledger.DecodeLane(b) }},
		"owner":   {ledger.LaneRecord(2, owner), owner, func(b []byte) (proto.Message, error) { return ledger.DecodeLane(b) }},
		"attempt": {ledger.AttemptRecord(2, attempt), attempt, func(b []byte) (proto.Message, error) { return ledger.DecodeAttempt(b) }},
		"test":    {ledger.AttemptRecord(2, tested), tested, func(b []byte) (proto.Message, error) { return ledger.DecodeAttempt(b) }},
		"passed":  {ledger.PassedEventsRecord(1, passed), passed, func(b []byte) (proto.Message, error) { return ledger.DecodePassedEvents(b) }},
	}
}

// kindOf groups the codecs whose facts are of one kind.
var kindOf = map[string]string{
	"config": "c", "request": "d", "retry": "d", "waiting": "l", "owner": "l", "attempt": "a", "test": "a", "passed": "i",
}

func TestEveryFactComesBack(t *testing.T) {
	t.Parallel()
	l := ready(t)
	for name, c := range codecs(l) {
		if _, err := l.Append(t.Context(), c.record); err != nil {
			t.Fatal(err)
		}
		got, err := c.decode(c.record.Value)
		if err != nil || !proto.Equal(got, c.fact) {
			t.Errorf("%s came back as %v, %v", name, got, err)
		}
		for other, o := range codecs(l) {
			if kindOf[other] == kindOf[name] {
				continue
			}
			if _, err := o.decode(c.record.Value); !errors.Is(err, ledger.ErrUndecodable) || !strings.Contains(err.Error(), "another kind") {
				t.Errorf("%s was read as %s: %v", name, other, err)
			}
		}
	}
}

func TestUndecodable(t *testing.T) {
	t.Parallel()
	l := node(t, small(brokertest.Prefix(t)))
	for name, c := range codecs(l) {
		value := c.record.Value
		newer := bytes.Clone(value)
		newer[2] = 2
		if _, err := c.decode(newer); !errors.Is(err, ledger.ErrUndecodable) || !strings.Contains(err.Error(), "upgrade") {
			t.Errorf("%s of a newer format: %v", name, err)
		}
		for _, garbage := range [][]byte{nil, {}, []byte("H"), []byte("HL"), []byte("HL\x01"), value[:4], []byte(`{"event":"export.ready"}`), append(bytes.Clone(value[:4]), 0xff, 0xff)} {
			if _, err := c.decode(garbage); !errors.Is(err, ledger.ErrUndecodable) {
				t.Errorf("%s from %q: %v", name, garbage, err)
			}
		}
		// Whatever is cut off: an error, or (at the end of a field) a fact that has all it must have.
		for n := range value {
			if m, err := c.decode(value[:n]); err == nil && !proto.Equal(m, c.fact) && n < 20 {
				t.Errorf("%s, %d of %d bytes, was read as %v", name, n, len(value), m)
			} else if err != nil && !errors.Is(err, ledger.ErrUndecodable) {
				t.Errorf("%s, %d of %d bytes: %v", name, n, len(value), err)
			}
		}
	}
}

func TestIncompleteFacts(t *testing.T) {
	t.Parallel()
	l := node(t, small(brokertest.Prefix(t)))
	short := subject()
	short.WebhookId = id(1)[:15]
	noHash := content()
	noHash.BodyHash = nil
	for name, err := range map[string]error{
		"config without account":    second(ledger.DecodeConfig(l.ConfigRecord(&facts.ConfigFact{FactId: id(1), Rules: 1}).Value)),
		"config without rules":      second(ledger.DecodeConfig(l.ConfigRecord(&facts.ConfigFact{FactId: id(1), Account: "a"}).Value)),
		"empty command":             second(ledger.DecodeCommand(l.CommandRecord(&facts.DeliveryCommand{}).Value)),
		"command with a short id":   second(ledger.DecodeCommand(l.CommandRecord(&facts.DeliveryCommand{Command: &facts.DeliveryCommand_Request{Request: &facts.DeliveryRequest{Subject: short, Content: content()}}}).Value)),
		"command without hash":      second(ledger.DecodeCommand(l.CommandRecord(&facts.DeliveryCommand{Command: &facts.DeliveryCommand_Retry{Retry: &facts.DeliveryRetry{Subject: subject(), Content: noHash}}}).Value)),
		"lane without content":      second(ledger.DecodeLane(ledger.LaneRecord(0, &facts.LaneRecord{Key: id(1)}).Value)),
		"attempt without kind":      second(ledger.DecodeAttempt(ledger.AttemptRecord(0, &facts.AttemptFact{FactId: id(1), Subject: subject()}).Value)),
		"test without webhook":      second(ledger.DecodeAttempt(ledger.AttemptRecord(0, &facts.AttemptFact{FactId: id(1), Kind: facts.FactKind_FACT_KIND_TEST}).Value)),
		"ids with too few hashes":   second(ledger.DecodePassedEvents(ledger.PassedEventsRecord(0, &facts.PassedEvents{Hashes: id(1), Offsets: []uint64{1, 2}}).Value)),
		"attempt without a subject": second(ledger.DecodeAttempt(ledger.AttemptRecord(0, &facts.AttemptFact{FactId: id(1), Kind: facts.FactKind_FACT_KIND_ENDED}).Value)),
	} {
		if !errors.Is(err, ledger.ErrUndecodable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// FuzzDecode: no bytes make a decoder panic; an error is ErrUndecodable.
func FuzzDecode(f *testing.F) {
	l := node(f, small("fuzz."))
	all := codecs(l)
	for _, c := range all {
		f.Add(c.record.Value)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, c := range all {
			if _, err := c.decode(b); err != nil && !errors.Is(err, ledger.ErrUndecodable) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
