package historian

import (
	"testing"
	"time"
)

// After quiet a few batches come at once; a steady load gets one an interval.
func TestPace(t *testing.T) {
	start := time.Unix(1000, 0)
	p := pace{linger: 100 * time.Millisecond, interval: time.Second}
	now := start
	var at []time.Duration
	for range 8 { // a record is always there
		now = p.due(now)
		p.took(now, light)
		at = append(at, now.Sub(start))
	}
	for i, want := range []int64{100, 200, 300, 1100, 2100, 3100, 4100, 5100} {
		if at[i].Milliseconds() != want {
			t.Errorf("batch %d came at %v, want %d ms", i, at[i], want)
		}
	}
	now = now.Add(2 * time.Second) // two seconds of quiet are two batches
	if due := p.due(now); !due.Equal(now.Add(p.linger)) {
		t.Errorf("after quiet: due after %v", due.Sub(now))
	}
	for range 20 { // batches of a record or two
		now = p.due(now)
		p.took(now, 2)
	}
	if wait := p.due(now).Sub(now); wait != 600*time.Millisecond {
		t.Errorf("among small batches the next waits %v", wait)
	}
	for range 1000 { // full batches, sooner than due
		now = now.Add(10 * time.Millisecond)
		p.took(now, light)
	}
	if wait := p.due(now).Sub(now); wait > time.Second {
		t.Errorf("after full batches the next waits %v", wait)
	}
}
