package historian

import "time"

// burst is how many batches may follow at once after quiet.
const burst = 3

// A batch of fewer than light records takes lightPart of a token: one client
// that publishes, looks and publishes again sees each event within a second too.
const (
	light     = 100
	lightPart = 0.6
)

// pace says when a batch is due: a bucket of batches that fills by one each interval.
type pace struct {
	linger, interval time.Duration
	// full is when the bucket will be full.
	full time.Time
}

// due is when a batch may be inserted whose first record came at first.
func (p *pace) due(first time.Time) time.Time {
	due := first.Add(p.linger)
	// A batch takes one, which is there when all but one interval of filling is left.
	if there := p.full.Add(-(burst - 1) * p.interval); there.After(due) {
		return there
	}
	return due
}

// took notes that a batch was inserted.
func (p *pace) took(now time.Time, records int) {
	if p.full.Before(now) {
		p.full = now
	}
	cost := p.interval
	if records < light {
		cost = time.Duration(lightPart * float64(p.interval))
	}
	p.full = p.full.Add(cost)
	// Full batches come sooner than allowed; they are not paid for for ever.
	if most := now.Add(burst * p.interval); p.full.After(most) {
		p.full = most
	}
}
