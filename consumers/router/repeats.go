package router

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"hookledger/ledger/ids"
)

const (
	hourMs = 3_600_000
	// lifeHours an entry lives after the hour that it is in: 24 to 25 hours in all.
	lifeHours = 24
)

// hourOf is the hour of a record time. 0 is the beginning of a partition, or a
// record without a time.
func hourOf(ms int64) int64 { return max(ms, 0) / hourMs }

// repeats is the memory of one partition's client-given ids. It is not safe for
// concurrent use.
type repeats struct {
	repeatsOptions
	covered int64        // all below it in event-ids lies in the manifest's files
	hours   []hourTables // ascending
	bytes   int          // of the tables in memory
	mapped  int          // of the files
	files   int          // number of the next file
	most    int          // bytes of one table
}

type repeatsOptions struct {
	folder string
	topic  [16]byte // of event-ids
	end    int64    // of event-ids
	memory int      // bytes
	gauge  *prometheus.GaugeVec
	logger *slog.Logger
}

type hourTables struct {
	hour  int64
	first int64 // the least offset among its entries and marks
	// tables: the last one takes entries, if it is in memory.
	tables []*table
}

// openRepeats opens the files that the folder's manifest vouches for, or begins anew.
func openRepeats(o repeatsOptions) (*repeats, error) {
	o.memory = max(o.memory, 4*minSlots*slotSize) // or each entry would be a file
	r := &repeats{repeatsOptions: o, most: minSlots * slotSize}
	for 2*r.most <= o.memory/2 {
		r.most *= 2
	}
	if err := os.MkdirAll(o.folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for passed ids: %w", err)
	}
	if err := r.openFiles(); err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			o.logger.Warn("the files of passed ids are thrown away and made anew from event-ids", "folder", o.folder, "error", err)
		}
		r.close()
		*r = repeats{repeatsOptions: o, most: r.most}
	}
	return r, r.removeOthers()
}

// entries is the number of entries, those of later repeats of the same record included.
func (r *repeats) entries() (n int) {
	for _, h := range r.hours {
		for _, t := range h.tables {
			n += t.count
		}
	}
	return n
}

// at is the place of an hour.
func (r *repeats) at(hour int64) (int, bool) {
	return slices.BinarySearchFunc(r.hours, hour, func(h hourTables, hour int64) int { return int(h.hour - hour) })
}

// hourBefore is the newest hour that began before an offset, as far as is known; 0 if none.
func (r *repeats) hourBefore(offset int64) int64 {
	for _, h := range slices.Backward(r.hours) {
		if h.first < offset {
			return h.hour
		}
	}
	return 0
}

// find looks for an earlier record with the same hash: the last one before an offset.
func (r *repeats) find(hash ids.ID, offset int64) (at int64, found bool) {
	at = -1
	for _, h := range r.hours {
		for _, t := range h.tables {
			before, _ := t.find(hash, offset)
			at = max(at, before)
		}
	}
	return at, at >= 0
}

// insert adds an entry to an hour, if it is not there; without a hash, only the hour.
func (r *repeats) insert(hour int64, hash ids.ID, offset int64) error {
	i, ok := r.at(hour)
	if !ok {
		r.hours = slices.Insert(r.hours, i, hourTables{hour: hour, first: offset})
	}
	h := &r.hours[i]
	h.first = min(h.first, offset)
	if hash.IsZero() {
		return nil
	}
	for _, t := range h.tables {
		if _, self := t.find(hash, offset); self {
			return nil
		}
	}
	var last *table
	if n := len(h.tables); n > 0 && h.tables[n-1].file == nil {
		last = h.tables[n-1]
	}
	switch {
	case last == nil, last.full() && len(last.slots) >= r.most:
		last = newTable()
		h.tables = append(h.tables, last)
		r.account(len(last.slots), 0)
	case last.full():
		r.account(len(last.slots), 0) // it doubles
		last = last.grown()
		h.tables[len(h.tables)-1] = last
	default:
		last.insert(hash, offset)
		return nil
	}
	last.insert(hash, offset)
	return r.shrink()
}

// account keeps the sums.
func (r *repeats) account(memory, mapped int) {
	r.bytes += memory
	r.mapped += mapped
	if r.gauge != nil {
		r.gauge.WithLabelValues("memory").Add(float64(memory))
		r.gauge.WithLabelValues("file").Add(float64(mapped))
	}
}

// shrink writes the oldest tables to files until the others fit into memory.
func (r *repeats) shrink() error {
	for _, h := range r.hours {
		for _, t := range h.tables {
			if r.bytes <= r.memory {
				return nil
			}
			if err := r.spill(h.hour, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// expire forgets the hours that no event from this hour on is compared with.
func (r *repeats) expire(hour int64) error {
	for len(r.hours) > 0 && r.hours[0].hour < hour-lifeHours {
		for _, t := range r.hours[0].tables {
			if err := r.discard(t); err != nil {
				return err
			}
		}
		r.hours = slices.Delete(r.hours, 0, 1)
	}
	return nil
}

// discard forgets a table, and its file.
func (r *repeats) discard(t *table) error {
	if t.file == nil {
		r.account(-len(t.slots), 0)
		return nil
	}
	r.account(0, -len(t.slots))
	if err := t.file.close(); err != nil {
		return err
	}
	if err := os.Remove(t.file.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove expired ids: %w", err)
	}
	return nil
}

// close lets go of memory and files; the files stay.
func (r *repeats) close() {
	for _, h := range r.hours {
		for _, t := range h.tables {
			if t.file != nil {
				r.account(0, -len(t.slots))
				_ = t.file.close()
			} else {
				r.account(-len(t.slots), 0)
			}
		}
	}
	r.hours = nil
}
