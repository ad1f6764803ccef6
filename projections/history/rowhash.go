package history

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Verifying compares whole rows, not only the hash of the record that a row
// keeps: a status code that somebody changed in ClickHouse is found too. A row is
// written down as one text, the same here and by ClickHouse, and hashed by XXH64
// on both sides, so that rows need not travel:
//
//	strings    their length in bytes, a colon, the bytes
//	raw bytes  in hex
//	numbers    in decimal; enums and booleans as numbers, times as Unix milliseconds
//	lists      their length, a colon, and each string as above
//
// each followed by a comma, in the order of columns.go.

// plainValue are the Go types of columns.
type plainValue interface {
	string | []byte | []string | bool | int8 | uint8 | uint16 | uint32 | int64 | uint64
}

func appendPlain[T plainValue](to []byte, value T) []byte {
	switch v := any(value).(type) {
	case string:
		to = append(appendLength(to, len(v)), v...)
	case []byte:
		to = append(appendLength(to, len(v)), v...)
	case []string:
		to = appendLength(to, len(v))
		for _, s := range v {
			to = append(appendLength(to, len(s)), s...)
		}
	case bool:
		if v {
			to = append(to, '1')
		} else {
			to = append(to, '0')
		}
	case int8:
		to = strconv.AppendInt(to, int64(v), 10)
	case uint8:
		to = strconv.AppendUint(to, uint64(v), 10)
	case uint16:
		to = strconv.AppendUint(to, uint64(v), 10)
	case uint32:
		to = strconv.AppendUint(to, uint64(v), 10)
	case int64:
		to = strconv.AppendInt(to, v, 10)
	case uint64:
		to = strconv.AppendUint(to, v, 10)
	}
	return append(to, ',')
}

func appendRaw(to []byte, v []byte) []byte { return append(hex.AppendEncode(to, v), ',') }

func appendLength(to []byte, n int) []byte { return append(strconv.AppendInt(to, int64(n), 10), ':') }

// plainSQL is a column as ClickHouse writes it down.
func plainSQL(name, kind string, raw bool) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(kind, "LowCardinality("), ")")
	switch {
	case raw:
		return "lower(hex(" + name + ")), ','"
	case strings.HasPrefix(kind, "Array("):
		return "toString(length(" + name + ")), ':', arrayStringConcat(arrayMap(s -> concat(toString(length(s)), ':', toString(s)), " + name + ")), ','"
	case inner == "String":
		return "toString(length(" + name + ")), ':', toString(" + name + "), ','"
	case strings.HasPrefix(kind, "Enum8"):
		return "toString(toInt8(" + name + ")), ','"
	case strings.HasPrefix(kind, "DateTime64"):
		return "toString(toUnixTimestamp64Milli(" + name + ")), ','"
	case kind == "Bool":
		return "toString(toUInt8(" + name + ")), ','"
	default:
		return "toString(" + name + "), ','"
	}
}

// Table is one of the tables that verifying compares row by row.
type Table string

// The tables with a row for each record, and that of states.
const (
	TableConfig     Table = "config_changes"
	TableEvents     Table = "events"
	TableAttempts   Table = "attempts"
	TableDeliveries Table = "deliveries"
)

// column is a column of any table.
type column struct {
	name string
	raw  bool
}

func columnsOf(t Table) []column {
	switch t {
	case TableConfig:
		return bare(configColumns())
	case TableEvents:
		return bare(eventColumns())
	case TableAttempts:
		return bare(attemptColumns())
	case TableDeliveries:
		return bare(deliveryColumns())
	}
	return nil
}

func bare[R any](all []columnOf[R]) []column {
	out := make([]column, len(all))
	for i, c := range all {
		out[i] = column{c.name, c.raw}
	}
	return out
}

// rowSQL is the hash of a row, in SQL.
func (h *History) rowSQL(ctx context.Context, t Table) (string, error) {
	parts, err := h.plainSQL(ctx, t)
	if err != nil {
		return "", err
	}
	return "xxHash64(concat(" + strings.Join(parts, ", ") + "))", nil
}

// plainSQL are the columns of a table as ClickHouse writes them down, each a list of arguments.
func (h *History) plainSQL(ctx context.Context, t Table) ([]string, error) {
	types, err := h.typesOf(ctx, string(t))
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, c := range columnsOf(t) {
		kind, ok := types[c.name]
		if !ok {
			return nil, fmt.Errorf("table %s.%s has no column %s: %w", h.Database(), t, c.name, ErrSchemaOlder)
		}
		parts = append(parts, plainSQL(c.name, kind, c.raw))
	}
	return parts, nil
}

// Plain is a row as it is written down: by column, and hashed as a whole. Make it with a RowHasher.
type Plain struct {
	Hash    uint64
	Columns map[string]string
}

// RowHasher hashes rows; it is not safe for concurrent use.
type RowHasher struct {
	buf        []byte
	attempts   []columnOf[AttemptRow]
	deliveries []columnOf[DeliveryRow]
	events     []columnOf[EventRow]
	changes    []columnOf[ConfigRow]
}

// NewRowHasher makes one.
func NewRowHasher() *RowHasher {
	return &RowHasher{attempts: attemptColumns(), deliveries: deliveryColumns(), events: eventColumns(), changes: configColumns()}
}

// Attempt hashes a row of attempts.
func (r *RowHasher) Attempt(row *AttemptRow) uint64 { return hashRow(&r.buf, r.attempts, row) }

// Delivery hashes a row of deliveries.
func (r *RowHasher) Delivery(row *DeliveryRow) uint64 { return hashRow(&r.buf, r.deliveries, row) }

// Event hashes a row of events.
func (r *RowHasher) Event(row *EventRow) uint64 { return hashRow(&r.buf, r.events, row) }

// Change hashes a row of config_changes.
func (r *RowHasher) Change(row *ConfigRow) uint64 { return hashRow(&r.buf, r.changes, row) }

func hashRow[R any](buf *[]byte, columns []columnOf[R], row *R) uint64 {
	b := (*buf)[:0]
	for _, c := range columns {
		b = c.plain(row, b)
	}
	*buf = b
	return xxhash.Sum64(b)
}

// PlainOf writes a row of any of the tables down, by column.
func PlainOf(row any) Plain {
	switch r := row.(type) {
	case *AttemptRow:
		return plainOf(attemptColumns(), r)
	case *DeliveryRow:
		return plainOf(deliveryColumns(), r)
	case *EventRow:
		return plainOf(eventColumns(), r)
	case *ConfigRow:
		return plainOf(configColumns(), r)
	}
	return Plain{}
}

func plainOf[R any](columns []columnOf[R], row *R) Plain {
	p := Plain{Columns: make(map[string]string, len(columns))}
	var buf []byte
	p.Hash = hashRow(&buf, columns, row)
	for _, c := range columns {
		p.Columns[c.name] = readable(string(c.plain(row, nil)))
	}
	return p
}

// readable is a value without the comma, and a string without its length.
func readable(s string) string {
	s = strings.TrimSuffix(s, ",")
	if n, rest, ok := strings.Cut(s, ":"); ok && n == strconv.Itoa(len(rest)) {
		return rest
	}
	return s
}
