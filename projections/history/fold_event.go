package history

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
)

// EventKey is the key that rows of events are ordered by within an account:
// eight bytes of a hash of account and id, so that an id alone is found by a
// range, and eight of a hash of the ordering key. It may never change.
func EventKey(account, id, orderingKey string) ids.ID {
	var key ids.ID
	copy(key[:8], hashOf(account, id))
	copy(key[8:], hashOf(orderingKey))
	return key
}

func hashOf(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// FoldEvent makes the row of a record of events. One that is no event is a row
// too, with status invalid, the reason, and what of it could be read; the
// router is who copies it to the dead letters.
func FoldEvent(r *kgo.Record) EventRow {
	recordMs := clampMillis(r.Timestamp.UnixMilli())
	row := EventRow{
		Data: r.Value, Status: EventAccepted, CreatedMs: recordMs, RecordMs: recordMs,
		Part: uint16(r.Partition), Off: uint64(r.Offset), RecordHash: RecordHash(r),
	}
	e, err := event.Decode(r)
	if err != nil {
		row.Status, row.Reason = EventInvalid, err.Error()
		e = salvage(r)
	} else {
		row.CreatedMs = clampMillis(e.CreatedAt.UnixMilli())
	}
	row.Account, row.EventID, row.EventType = e.Account, e.ID, e.Type
	row.IndexID, row.OrderingKey, row.EventSource = e.IndexID, e.OrderingKey, e.Source
	row.Fresh = e.Fresh
	row.EventKey = EventKey(e.Account, e.ID, e.OrderingKey)
	return row
}

// salvage reads the attributes of an invalid record that are there, so that its
// account can find it.
func salvage(r *kgo.Record) *event.Event {
	e := new(event.Event)
	for _, h := range r.Headers {
		if len(h.Value) > event.MaxID || !utf8.Valid(h.Value) {
			continue
		}
		switch v := string(h.Value); h.Key {
		case "ce_accountid":
			e.Account = v
		case "ce_id":
			e.ID = v
		case "ce_type":
			e.Type = v
		}
	}
	return e
}

// errNoDeadLetter is a record of dead-letters that says not where it is from.
var errNoDeadLetter = errors.New("no dead letter of hookledger")

// FoldDeadLetter makes the row that a record of dead-letters is about, if it is
// one of events: the same row as its record's, with the router's verdict.
// Those of other topics have none. An error is a record that somebody else
// put there.
func FoldDeadLetter(r *kgo.Record) (*EventRow, error) {
	var topic, reason string
	numbers := map[string]int64{ledger.DeadLetterPartition: -1, ledger.DeadLetterOffset: -1, ledger.DeadLetterTime: -1}
	own := 0
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, "hookledger-") || own == 5 { // ours come first, the record's own may look alike
			break
		}
		own++
		switch h.Key {
		case ledger.DeadLetterTopic:
			topic = string(h.Value)
		case ledger.DeadLetterReason:
			reason = string(h.Value)
		default:
			n, err := strconv.ParseInt(string(h.Value), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%w: header %s: %w", errNoDeadLetter, h.Key, err)
			}
			numbers[h.Key] = n
		}
	}
	if topic == "" || numbers[ledger.DeadLetterPartition] < 0 || numbers[ledger.DeadLetterOffset] < 0 {
		return nil, fmt.Errorf("%w: its headers don't say from where it is", errNoDeadLetter)
	}
	if ledger.Topic(topic) != ledger.Events {
		return nil, nil //nolint:nilnil // no row is an answer
	}
	row := FoldEvent(&kgo.Record{
		Key: r.Key, Value: r.Value, Headers: r.Headers[own:],
		Timestamp: time.UnixMilli(numbers[ledger.DeadLetterTime]),
		Partition: int32(numbers[ledger.DeadLetterPartition]), Offset: numbers[ledger.DeadLetterOffset],
	})
	row.Ver = 1
	if row.Status == EventAccepted { // an event, but not one that the router let pass
		row.Status, row.Reason = EventRepeat, reason
	}
	return &row, nil
}
