package history

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hookledger/ledger/ids"
)

// BucketSize is how many offsets of a partition are summed up together: when
// sums differ, only their bucket is looked through.
const BucketSize = 50_000

// Range is the offsets of a partition that are compared: from First up to End.
type Range struct {
	Partition  int32
	First, End int64
}

// OffsetBucket names BucketSize offsets of a partition.
type OffsetBucket struct {
	Partition int32
	Number    int64
}

// BucketOf is where an offset is summed up.
func BucketOf(partition int32, offset int64) OffsetBucket {
	return OffsetBucket{partition, offset / BucketSize}
}

// Sum is what a bucket is compared by: how many rows, how many distinct offsets,
// and the sum of the rows' hashes.
type Sum struct{ Rows, Offsets, Hashes uint64 }

// RowAt is a row by its offset, with its hash.
type RowAt struct {
	Offset int64
	Hash   uint64
}

// Outside counts rows beside the ranges that are compared.
type Outside struct {
	// Below are rows whose records the log no longer holds.
	Below uint64
	// Beyond are, by partition, the greatest offsets of rows at or after a range's end.
	Beyond map[int32]int64
	// Strange are rows in partitions that the topic does not have.
	Strange uint64
}

// Sums adds up the rows of a table in ranges, by bucket, in one pass.
func (h *History) Sums(ctx context.Context, t Table, ranges []Range) (map[OffsetBucket]Sum, error) {
	hash, err := h.rowSQL(ctx, t)
	if err != nil {
		return nil, err
	}
	rows, err := h.conn.Query(h.long(ctx), h.sql(fmt.Sprintf(
		"SELECT part, toInt64(intDiv(off, %d)) AS bucket, count(), toUInt64(groupBitmap(toUInt32(off %% %d))), sum(%s) FROM {{db}}.%s FINAL WHERE %s GROUP BY part, bucket",
		BucketSize, BucketSize, hash, t, inRanges(ranges))))
	if err != nil {
		return nil, fmt.Errorf("add up %s: %w", t, err)
	}
	defer rows.Close()
	sums := make(map[OffsetBucket]Sum)
	for rows.Next() {
		var part uint16
		var number int64
		var s Sum
		if err := rows.Scan(&part, &number, &s.Rows, &s.Offsets, &s.Hashes); err != nil {
			return nil, fmt.Errorf("add up %s: %w", t, err)
		}
		sums[OffsetBucket{int32(part), number}] = s
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("add up %s: %w", t, err)
	}
	return sums, nil
}

func inRanges(ranges []Range) string {
	all := make([]string, len(ranges))
	for i, r := range ranges {
		all[i] = fmt.Sprintf("(part = %d AND off >= %d AND off < %d)", r.Partition, r.First, r.End)
	}
	return "(" + strings.Join(all, " OR ") + ")"
}

// Beside counts the rows of a table outside of ranges. partitions is how many there are.
func (h *History) Beside(ctx context.Context, t Table, ranges []Range, partitions int32) (Outside, error) {
	below := []string{"0"}
	for _, r := range ranges {
		below = append(below, fmt.Sprintf("(part = %d AND off < %d)", r.Partition, r.First))
	}
	o := Outside{Beyond: make(map[int32]int64)}
	err := h.conn.Conn.QueryRow(h.long(ctx), named(fmt.Sprintf("SELECT countIf(%s), countIf(part >= %d) FROM {{db}}.%s FINAL",
		strings.Join(below, " OR "), partitions, t), h.Database())).Scan(&o.Below, &o.Strange)
	if err != nil {
		return o, fmt.Errorf("count the other rows of %s: %w", t, err)
	}
	for _, r := range ranges {
		var most uint64
		err := h.conn.Conn.QueryRow(h.long(ctx), named(fmt.Sprintf("SELECT max(off + 1) FROM {{db}}.%s FINAL WHERE part = %d AND off >= %d",
			t, r.Partition, r.End), h.Database())).Scan(&most)
		if err != nil {
			return o, fmt.Errorf("look for later rows of %s: %w", t, err)
		}
		if most > 0 {
			o.Beyond[r.Partition] = int64(most) - 1
		}
	}
	return o, nil
}

// RowsAt lists the rows of a range, in order.
func (h *History) RowsAt(ctx context.Context, t Table, r Range) ([]RowAt, error) {
	hash, err := h.rowSQL(ctx, t)
	if err != nil {
		return nil, err
	}
	rows, err := h.conn.Query(h.long(ctx), h.sql(fmt.Sprintf("SELECT off, %s FROM {{db}}.%s FINAL WHERE %s ORDER BY off",
		hash, t, inRanges([]Range{r}))))
	if err != nil {
		return nil, fmt.Errorf("list rows of %s: %w", t, err)
	}
	defer rows.Close()
	var all []RowAt
	for rows.Next() {
		var off uint64
		var row RowAt
		if err := rows.Scan(&off, &row.Hash); err != nil {
			return nil, fmt.Errorf("list rows of %s: %w", t, err)
		}
		row.Offset = int64(off)
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list rows of %s: %w", t, err)
	}
	return all, nil
}

// RowsWritten are the rows of one offset, written down by column.
func (h *History) RowsWritten(ctx context.Context, t Table, partition int32, offset int64) ([]Plain, error) {
	return h.written(ctx, t, fmt.Sprintf("part = %d AND off = %d", partition, offset))
}

// DeliveryWritten is the state of a delivery, written down; empty when there is none.
func (h *History) DeliveryWritten(ctx context.Context, delivery ids.ID) ([]Plain, error) {
	return h.written(ctx, TableDeliveries, "delivery_id = "+id(delivery)+" AND created_at = "+at(delivery.Time()))
}

func (h *History) written(ctx context.Context, t Table, where string) ([]Plain, error) {
	parts, err := h.plainSQL(ctx, t)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, p := range parts {
		texts = append(texts, "concat("+p+")")
	}
	rows, err := h.conn.Query(h.long(ctx), h.sql("SELECT xxHash64(concat("+strings.Join(parts, ", ")+")), ["+strings.Join(texts, ", ")+
		"] FROM {{db}}."+string(t)+" FINAL WHERE "+where+" LIMIT 10"))
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", t, err)
	}
	defer rows.Close()
	var all []Plain
	for rows.Next() {
		var values []string
		p := Plain{Columns: make(map[string]string)}
		if err := rows.Scan(&p.Hash, &values); err != nil {
			return nil, fmt.Errorf("read rows of %s: %w", t, err)
		}
		for i, c := range columnsOf(t) {
			p.Columns[c.name] = readable(values[i])
		}
		all = append(all, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", t, err)
	}
	return all, nil
}

// Slice is a share of all deliveries: those of Number, of Of equal shares by their id.
type Slice struct{ Number, Of uint32 }

// Has says whether a delivery is in it.
func (s Slice) Has(delivery ids.ID) bool {
	return s.Of <= 1 || binary.BigEndian.Uint32(delivery[12:])%s.Of == s.Number
}

func (s Slice) sql() string {
	if s.Of <= 1 {
		return "1"
	}
	return fmt.Sprintf("reinterpretAsUInt32(reverse(substring(delivery_id, 13, 4))) %% %d = %d", s.Of, s.Number)
}

// State is the state of a delivery as it lies in ClickHouse: which record it is of, and its hash.
type State struct {
	Delivery ids.ID
	IsFact   bool
	Offset   int64
	Hash     uint64
	Version  Version
}

// CountDeliveries is about how many deliveries there are.
func (h *History) CountDeliveries(ctx context.Context) (uint64, error) {
	var n uint64
	err := h.conn.Conn.QueryRow(h.long(ctx), named("SELECT count() FROM {{db}}.deliveries", h.Database())).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the deliveries: %w", err)
	}
	return n, nil
}

// States hands over the states of a partition's deliveries; each must not ask the history.
func (h *History) States(ctx context.Context, partition int32, slice Slice, each func(State)) error {
	return h.states(ctx, fmt.Sprintf("part = %d AND %s", partition, slice.sql()), each)
}

// StatesOf is States for some deliveries.
func (h *History) StatesOf(ctx context.Context, deliveries []ids.ID, each func(State)) error {
	const most = 5_000
	for some := range slices.Chunk(deliveries, most) {
		if err := h.states(ctx, "delivery_id IN "+idList(some), each); err != nil {
			return err
		}
	}
	return nil
}

func (h *History) states(ctx context.Context, where string, each func(State)) error {
	hash, err := h.rowSQL(ctx, TableDeliveries)
	if err != nil {
		return err
	}
	rows, err := h.conn.Query(h.long(ctx), h.sql("SELECT delivery_id, is_fact, off, "+hash+", toUInt64(bitShiftRight(version, 192)), toUInt64(bitShiftRight(version, 128)), "+
		"toUInt64(bitShiftRight(version, 64)), toUInt64(version) FROM {{db}}.deliveries FINAL WHERE "+where))
	if err != nil {
		return fmt.Errorf("read the states of deliveries: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s State
		var off uint64
		if err := rows.Scan((*[16]byte)(&s.Delivery), &s.IsFact, &off, &s.Hash, &s.Version[0], &s.Version[1], &s.Version[2], &s.Version[3]); err != nil {
			return fmt.Errorf("read the states of deliveries: %w", err)
		}
		s.Offset = int64(off)
		each(s)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the states of deliveries: %w", err)
	}
	return nil
}

// Version is what decides which state of a delivery is the newer one; see
// 0002_deliveries.sql, whose column it is. The greatest word comes first.
type Version [4]uint64

// Version of a row.
func (d *DeliveryRow) Version() Version {
	var v Version
	put := func(value uint64, shift uint) {
		word, by := 3-shift/64, shift%64
		v[word] |= value << by
		if by > 0 && word > 0 {
			v[word-1] |= value >> (64 - by)
		}
	}
	put(flagged(d.IsFact), 227)
	put(d.Round, 179)
	put(uint64(d.End), 177)
	put(uint64(d.Attempt), 145)
	put(d.Upto, 97)
	put(d.Epoch, 49)
	put(flagged(!d.Completed), 48)
	put(d.Off, 0)
	return v
}

// Compare orders versions.
func (v Version) Compare(o Version) int { return slices.Compare(v[:], o[:]) }

func flagged(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// HourFault is a row of attempts_hourly that is not what the attempts add up to.
type HourFault struct {
	Account string
	Webhook ids.ID
	Outcome string
	Hour    time.Time
	// Stored and Counted are how many attempts the row says and how many there are; zero for no row.
	Stored, Counted uint32
	// Rows is how many rows of attempts there are of the webhook's hour.
	Rows uint64
	// Behind: attempts have come since the row was computed; the historian will compute it again.
	Behind bool
}

// HourFaults compares attempts_hourly of an hour with the attempts themselves.
func (h *History) HourFaults(ctx context.Context, hour time.Time) ([]HourFault, error) {
	fresh := replaceAll(hourlySelect, "{{from}}", at(hour), "{{to}}", at(hour.Add(time.Hour)))
	const key = "account, webhook_id, outcome"
	const value = "tuple(n, dur_us, lb, ln, last_at, trailing)"
	sql := "SELECT account, webhook_id, toString(outcome), sum(s), sum(c), max(ver_counted), max(ver_stored) < max(ver_counted) FROM (" +
		"SELECT " + key + ", n AS s, toUInt32(0) AS c, " + value + " AS v, ver AS ver_stored, toUInt64(0) AS ver_counted FROM {{db}}.attempts_hourly FINAL WHERE hour = toDateTime(" +
		strconv.FormatInt(hour.Unix(), 10) + ", 'UTC') UNION ALL " +
		"SELECT " + key + ", toUInt32(0) AS s, n AS c, " + value + " AS v, toUInt64(0) AS ver_stored, ver AS ver_counted FROM (" + fresh + ")) " +
		"GROUP BY " + key + " HAVING count() != 2 OR uniqExact(v) != 1"
	rows, err := h.conn.Query(h.long(ctx), h.sql(sql))
	if err != nil {
		return nil, fmt.Errorf("add up the attempts of %s: %w", hour.Format(time.RFC3339), err)
	}
	defer rows.Close()
	var all []HourFault
	for rows.Next() {
		f := HourFault{Hour: hour}
		var stored, counted uint64
		var behind uint8
		if err := rows.Scan(&f.Account, (*[16]byte)(&f.Webhook), &f.Outcome, &stored, &counted, &f.Rows, &behind); err != nil {
			return nil, fmt.Errorf("add up the attempts of %s: %w", hour.Format(time.RFC3339), err)
		}
		f.Stored, f.Counted, f.Behind = uint32(stored), uint32(counted), behind == 1
		all = append(all, f)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("add up the attempts of %s: %w", hour.Format(time.RFC3339), err)
	}
	return all, nil
}
