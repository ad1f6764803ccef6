package history

import (
	"errors"
	"fmt"
	"time"
)

// Bucket is the length of the pieces that an analytics question cuts time into.
type Bucket string

// The buckets. NoBucket is the whole range at once.
const (
	NoBucket Bucket = ""
	Minute   Bucket = "minute"
	Hour     Bucket = "hour"
	Day      Bucket = "day"
)

// ErrTooManyBuckets: the range has more of them than asked for at most.
var ErrTooManyBuckets = errors.New("too many buckets")

// Edges cuts [from, to) where the clocks of a time zone begin a new minute, hour
// or day, and returns all edges, from and to included: the first and last bucket
// may be shorter. A day has 23 or 25 hours where clocks change; one whose midnight
// is skipped begins with its first instant. An hour in which clocks change by
// less than an hour takes in the rest up to the next full one.
//
// With more than most buckets it returns ErrTooManyBuckets.
func Edges(from, to time.Time, bucket Bucket, zone *time.Location, most int) ([]time.Time, error) {
	edges := []time.Time{from}
	for at := from; ; {
		next := to
		switch bucket {
		case Minute:
			next = nextOf(at.In(zone), time.Minute)
		case Hour:
			next = nextOf(at.In(zone), time.Hour)
		case Day:
			next = nextDay(at.In(zone))
		case NoBucket:
		}
		if !next.Before(to) {
			return append(edges, to), nil
		}
		if edges = append(edges, next); len(edges) > most {
			return nil, fmt.Errorf("%w: %s to %s has more than %d of a %s", ErrTooManyBuckets,
				from.Format(time.RFC3339), to.Format(time.RFC3339), most, bucket)
		}
		at = next
	}
}

// nextOf is the first instant after local at which clocks show a full unit.
func nextOf(local time.Time, unit time.Duration) time.Time {
	next := local.Add(unit - sinceFull(local, unit))
	for past := sinceFull(next, unit); past != 0; past = sinceFull(next, unit) { // clocks changed in between
		next = next.Add(unit - past)
	}
	return next
}

func sinceFull(local time.Time, unit time.Duration) time.Duration {
	past := time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
	if unit == time.Hour {
		past += time.Duration(local.Minute()) * time.Minute
	}
	return past
}

// nextDay is the first instant after local whose date is a later one. It looks
// at the stretches between changes of the clocks, in each of which the date's
// first instant is plain arithmetic.
func nextDay(local time.Time) time.Time {
	y, m, d := local.Date()
	for at := local; ; {
		_, end := at.ZoneBounds()
		// Midnight by the offset of this stretch.
		_, offset := at.Zone()
		midnight := time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC).Add(-time.Duration(offset) * time.Second).In(local.Location())
		switch {
		case midnight.Before(at): // the clocks jumped over it
			return at
		case end.IsZero() || midnight.Before(end):
			return midnight
		}
		at = end
	}
}
