package historian

import (
	"maps"
	"slices"
	"time"
)

// idleShare: after recomputing for a time t, nothing is recomputed for idleShare times t.
const idleShare = 9

// owed is the hours of attempts_hourly whose attempts have changed since they were computed.
type owed struct {
	hours map[int64]struct{} // Unix seconds
	// next is when the next may be recomputed.
	next time.Time
}

func newOwed() owed { return owed{hours: make(map[int64]struct{})} }

func (o *owed) add(hours ...time.Time) {
	for _, h := range hours {
		o.hours[h.Truncate(time.Hour).Unix()] = struct{}{}
	}
}

// list is all of them, the oldest first.
func (o *owed) list() []time.Time {
	all := make([]time.Time, 0, len(o.hours))
	for _, unix := range slices.Sorted(maps.Keys(o.hours)) {
		all = append(all, time.Unix(unix, 0).UTC())
	}
	return all
}

// newest is the one that is asked for most.
func (o *owed) newest() time.Time {
	var newest int64
	for unix := range o.hours {
		newest = max(newest, unix)
	}
	return time.Unix(newest, 0).UTC()
}

func (o *owed) done(hour time.Time, took time.Duration, now time.Time) {
	delete(o.hours, hour.Unix())
	o.next = now.Add(idleShare * took)
}
