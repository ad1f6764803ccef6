// Package event is what a platform publishes: how an event lies in the log, and
// which bytes a receiver gets.
//
// In the log an event is a CloudEvent 1.0 in the Kafka protocol binding's binary
// mode: the value is the data, verbatim, and the attributes are headers with
// the prefix ce_. Platforms may produce there directly, with any Kafka client;
// they are trusted for every account, but what they write is judged by Decode.
//
//	ce_specversion   1.0
//	ce_id            the event's id, to 128 characters
//	ce_source        who published it
//	ce_type          the event's name, such as export.ready
//	ce_time          RFC 3339; the record's time when absent
//	ce_accountid     the account
//	ce_indexid       the index; absent for none
//	ce_partitionkey  the ordering key (partitioning extension); absent for none
//	ce_hlfresh       "1" when the id was drawn for this record, so that it can't be a repeat
//	content-type     application/json
//
// The record's key is what Key returns; Kafka's default partitioner on it puts
// events of one ordering key, and repeats of one id, into one partition.
//
// Compose makes the body that is sent. It is a pure function of the event and
// the webhook's metadata, so the same bytes can be made again from the log; a
// change of it would change bytes under hashes that are already recorded, so it
// may never change for events of this api_version.
package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger/ids"
)

// Limits on what an event may hold, in bytes unless said otherwise.
const (
	MaxID          = 128
	MaxType        = 128
	MaxAccount     = 128
	MaxIndexID     = 256
	MaxOrderingKey = 256
	MaxData        = 1 << 20
)

// APIVersion is the api_version of every body.
const APIVersion = "2024-01"

// timeFormat is RFC 3339 in UTC with milliseconds, as everywhere in the API.
const timeFormat = "2006-01-02T15:04:05.000Z"

// Event is what was published.
type Event struct {
	ID          string
	Source      string
	Type        string
	Account     string
	IndexID     string // empty for none
	OrderingKey string // empty for none
	// CreatedAt is what the publisher says; in milliseconds.
	CreatedAt time.Time
	// Fresh says that the id was drawn for this record.
	Fresh bool
	// Data is the published JSON, verbatim.
	Data []byte
}

// ErrInvalid is returned for a record of events that is no event of ours.
var ErrInvalid = errors.New("invalid event")

const (
	headerVersion     = "ce_specversion"
	headerID          = "ce_id"
	headerSource      = "ce_source"
	headerType        = "ce_type"
	headerTime        = "ce_time"
	headerAccount     = "ce_accountid"
	headerIndex       = "ce_indexid"
	headerOrdering    = "ce_partitionkey"
	headerFresh       = "ce_hlfresh"
	headerContentType = "content-type"
)

// Key is the record's key: account and ordering key, or id.
func (e *Event) Key() []byte {
	by := e.OrderingKey
	if by == "" {
		by = e.ID
	}
	return []byte(e.Account + "/" + by)
}

// Headers are the record's headers.
func (e *Event) Headers() []kgo.RecordHeader {
	hs := make([]kgo.RecordHeader, 0, 10)
	add := func(k, v string) {
		if v != "" {
			hs = append(hs, kgo.RecordHeader{Key: k, Value: []byte(v)})
		}
	}
	add(headerVersion, "1.0")
	add(headerID, e.ID)
	add(headerSource, e.Source)
	add(headerType, e.Type)
	add(headerTime, e.CreatedAt.UTC().Format(timeFormat))
	add(headerAccount, e.Account)
	add(headerIndex, e.IndexID)
	add(headerOrdering, e.OrderingKey)
	if e.Fresh {
		add(headerFresh, "1")
	}
	add(headerContentType, "application/json")
	return hs
}

// Decode reads a record of events. The event's Data shares the record's memory.
// ErrInvalid says what is wrong with it.
func Decode(r *kgo.Record) (*Event, error) {
	e := &Event{Data: r.Value}
	var version, at string
	for _, h := range r.Headers {
		value := string(h.Value)
		switch h.Key {
		case headerVersion:
			version = value
		case headerID:
			e.ID = value
		case headerSource:
			e.Source = value
		case headerType:
			e.Type = value
		case headerTime:
			at = value
		case headerAccount:
			e.Account = value
		case headerIndex:
			e.IndexID = value
		case headerOrdering:
			e.OrderingKey = value
		case headerFresh:
			e.Fresh = value == "1"
		}
	}
	if version != "1.0" {
		return nil, invalid("header %s is %q, want \"1.0\"", headerVersion, version)
	}
	e.CreatedAt = r.Timestamp.UTC().Truncate(time.Millisecond)
	if at != "" {
		parsed, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return nil, invalid("header %s: %v", headerTime, err)
		}
		e.CreatedAt = parsed.UTC().Truncate(time.Millisecond)
	}
	if err := e.Check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(r.Key, e.Key()) {
		return nil, invalid("record key %q, want %q (account, a slash, and ordering key or id)", r.Key, e.Key())
	}
	return e, nil
}

// Check says what is wrong with an event, whoever made it.
func (e *Event) Check() error {
	if err := e.CheckAttributes(); err != nil {
		return err
	}
	switch {
	case len(e.Data) > MaxData:
		return invalid("data has %d bytes, at most %d are allowed", len(e.Data), MaxData)
	case !utf8.Valid(e.Data):
		return invalid("data is not UTF-8")
	case !isObject(e.Data):
		return invalid("data is not a JSON object")
	}
	return nil
}

// CheckAttributes is Check for an event whose data is known to be a JSON object.
func (e *Event) CheckAttributes() error {
	for _, f := range []struct {
		name, value string
		required    bool
		most        int
	}{
		{headerID, e.ID, true, MaxID},
		{headerType, e.Type, true, MaxType},
		{headerAccount, e.Account, true, MaxAccount},
		{headerIndex, e.IndexID, false, MaxIndexID},
		{headerOrdering, e.OrderingKey, false, MaxOrderingKey},
		{headerSource, e.Source, false, MaxID},
	} {
		switch {
		case f.required && f.value == "":
			return invalid("header %s is missing", f.name)
		case len(f.value) > f.most:
			return invalid("header %s has %d bytes, at most %d are allowed", f.name, len(f.value), f.most)
		case !utf8.ValidString(f.value):
			return invalid("header %s is not UTF-8", f.name)
		}
		for _, c := range f.value {
			if c < 0x20 || c == 0x7f {
				return invalid("header %s holds a control character", f.name)
			}
		}
	}
	if e.CreatedAt.Year() < 1 || e.CreatedAt.Year() > 9999 {
		return invalid("header %s: the year has to have four digits", headerTime)
	}
	return nil
}

func isObject(data []byte) bool {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(data)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Identity names the event among the repeats of its id: 16 bytes of a hash of
// account, ordering key and id.
func (e *Event) Identity() ids.ID {
	sum := digest(e.Account, e.OrderingKey, e.ID)
	return ids.ID(sum[:ids.Size])
}

// ContentHash tells a repeat from another event under the same id. created_at
// is no part of it: a publisher that repeats a request without one gets
// another, and means the same event.
func (e *Event) ContentHash() [sha256.Size]byte {
	return digest(e.Type, e.IndexID, string(e.Data))
}

func digest(parts ...string) [sha256.Size]byte {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Compose makes the body that a receiver gets: data verbatim, and the webhook's
// metadata when it has any.
func Compose(e *Event, metadata []byte) []byte {
	b := make([]byte, 0, len(e.Data)+len(metadata)+len(e.ID)+len(e.Type)+128)
	b = append(b, `{"id":`...)
	b = appendString(b, e.ID)
	b = append(b, `,"event":`...)
	b = appendString(b, e.Type)
	b = append(b, `,"created_at":"`...)
	b = e.CreatedAt.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","api_version":"`+APIVersion+`","data":`...)
	b = append(b, e.Data...)
	if len(metadata) > 0 {
		b = append(b, `,"metadata":`...)
		b = append(b, metadata...)
	}
	return append(b, '}')
}

// appendString writes a JSON string. Its form is frozen, so it is ours and not
// encoding/json's, whose escaping has changed between versions of Go.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = slices.Grow(b, len(s)+2)
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// String names the event for logs.
func (e *Event) String() string { return e.Type + " " + strconv.Quote(e.ID) + " of " + e.Account }
