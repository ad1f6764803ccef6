package history_test

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"hookledger/projections/history"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	must(t, err)
	return z
}

// Every minute of ranges in which clocks change is in the bucket of what the
// clock shows then, whatever the zone did.
func TestEdgesAreWhereClocksSayThem(t *testing.T) {
	for _, c := range []struct {
		zone  string
		day   time.Time
		hours float64 // of the day
	}{
		{"Europe/Berlin", time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC), 23},
		{"Europe/Berlin", time.Date(2026, 10, 25, 12, 0, 0, 0, time.UTC), 25},
		{"America/New_York", time.Date(2026, 3, 8, 20, 0, 0, 0, time.UTC), 23},
		{"America/New_York", time.Date(2026, 11, 1, 20, 0, 0, 0, time.UTC), 25},
		{"America/Havana", time.Date(2026, 3, 8, 18, 0, 0, 0, time.UTC), 23},     // midnight is skipped
		{"America/Havana", time.Date(2026, 11, 1, 18, 0, 0, 0, time.UTC), 25},    // midnight comes twice
		{"America/Sao_Paulo", time.Date(2018, 2, 17, 18, 0, 0, 0, time.UTC), 25}, // 24:00 goes back to 23:00
		{"America/Sao_Paulo", time.Date(2018, 11, 4, 18, 0, 0, 0, time.UTC), 23},
		{"Asia/Kathmandu", time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 24}, // +05:45
		{"UTC", time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 24},
		{"Pacific/Apia", time.Date(2011, 12, 31, 0, 0, 0, 0, time.UTC), 24}, // the day before does not exist
	} {
		z := zone(t, c.zone)
		from, to := c.day.Add(-72*time.Hour), c.day.Add(72*time.Hour)
		for _, bucket := range []history.Bucket{history.Hour, history.Day} {
			edges, err := history.Edges(from, to, bucket, z, 200)
			must(t, err)
			if !edges[0].Equal(from) || !edges[len(edges)-1].Equal(to) {
				t.Errorf("%s: edges from %s to %s", c.zone, edges[0], edges[len(edges)-1])
			}
			name := func(at time.Time) string {
				if bucket == history.Day {
					return at.In(z).Format("2006-01-02")
				}
				return at.In(z).Format("2006-01-02 15 -0700")
			}
			i := 0
			for at := from; at.Before(to); at = at.Add(time.Minute) {
				begins := !at.Equal(from) && name(at) != name(at.Add(-time.Minute))
				if next := edges[i+1]; begins != at.Equal(next) {
					t.Fatalf("%s %s: at %s clocks begin a new one: %v; the next edge is %s", c.zone, bucket, at.In(z), begins, next.In(z))
				}
				if begins {
					i++
				}
			}
			for i := range edges[1:] {
				if bucket == history.Day && name(edges[i]) == name(c.day) && edges[i+1].Sub(edges[i]).Hours() != c.hours {
					t.Errorf("%s: %s has %s", c.zone, name(c.day), edges[i+1].Sub(edges[i]))
				}
			}
		}
	}
}

func TestEdges(t *testing.T) {
	from := time.Date(2026, 11, 20, 10, 20, 30, 400e6, time.UTC)
	edges, err := history.Edges(from, from.Add(2*time.Minute), history.Minute, time.UTC, 3)
	must(t, err)
	if len(edges) != 4 || edges[1].Sub(from) != 29600*time.Millisecond || edges[2].Sub(edges[1]) != time.Minute {
		t.Errorf("minutes: %v", edges)
	}
	if _, err := history.Edges(from, from.Add(2*time.Minute), history.Minute, time.UTC, 2); !errors.Is(err, history.ErrTooManyBuckets) {
		t.Errorf("three buckets of two at most: %v", err)
	}
	// Lord Howe's clocks go back by half an hour: one o'clock lasts until two.
	z := zone(t, "Australia/Lord_Howe")
	from = time.Date(2026, 4, 4, 13, 0, 0, 0, time.UTC)
	edges, err = history.Edges(from, from.Add(5*time.Hour), history.Hour, z, 10)
	must(t, err)
	for _, e := range edges[:len(edges)-1] {
		if e.In(z).Minute() != 0 {
			t.Errorf("an hour begins at %s", e.In(z))
		}
	}
	if edges, err = history.Edges(from, from.Add(1000*time.Hour), history.NoBucket, z, 1); err != nil || len(edges) != 2 {
		t.Errorf("no buckets: %v, %v", edges, err)
	}
}
