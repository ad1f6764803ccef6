package partition

import (
	"time"

	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Breaker is when a webhook's receiver is left alone, and for how long. It opens
// after Failures failures in a row, or when at least Percent of at least Tries
// tries within a minute have failed. Then single deliveries probe the receiver:
// the first ProbeAfter later, the next after twice as long, up to ProbeMost.
// Once a probe is delivered the rest follows, one a second to begin with, and
// one a second faster with each that is delivered.
//
// What it delays is not tried, so it costs no try of a delivery's schedule.
type Breaker struct {
	Failures, Tries, Percent int
	ProbeAfter, ProbeMost    time.Duration
}

// DefaultBreaker is what DESIGN names.
func DefaultBreaker() Breaker {
	return Breaker{Failures: 5, Tries: 10, Percent: 80, ProbeAfter: 10 * time.Second, ProbeMost: 15 * time.Minute}
}

// breaker is the state of one lane's. Open and the number of probes are kept in
// `lanes`, so that a restart does not try every dead receiver again. While it is
// not open, probes tell that it was, and is recovering.
type breaker struct {
	open    bool
	probes  uint32 // that failed since it opened
	probing uint64 // the try that probes, 0 if there is none
	former  uint32 // the entry that probed last
	rate    uint32 // starts a second while recovering, 0 when that is over

	minute           time.Duration // when the count of tries began
	minuteTries, bad uint32
}

// judgeBreaker follows the result of a try.
func (m *Machine) judgeBreaker(now Time, n uint32, l *lane, delivered, probe bool) {
	if l.open {
		switch {
		case !probe: // it was started before, and has no say
		case delivered:
			m.setOpen(l, false)
			l.minuteTries, l.bad = 0, 0
			l.rate, l.closed = 1, now.Mono+time.Second
			m.ring(l.closed, n)
			m.soil(n)
		default:
			l.probes++
			m.shut(now, n, l)
		}
		return
	}
	if now.Mono-l.minute > time.Minute {
		l.minute, l.minuteTries, l.bad = now.Mono, 0, 0
	}
	l.minuteTries++
	if delivered {
		if l.rate > 0 {
			if l.rate++; int(l.rate) > m.cfg.PerWebhook {
				m.forgive(l)
				m.soil(n)
			}
		}
		return
	}
	l.bad++
	if l.rate > 1 {
		l.rate /= 2
	}
	b := &m.cfg.Breaker
	if int(l.failures) >= b.Failures || int(l.minuteTries) >= b.Tries && int(l.bad)*100 >= b.Percent*int(l.minuteTries) {
		m.setOpen(l, true)
		l.rate = 0
		m.shut(now, n, l)
	}
}

// shut closes the lane until the next probe.
func (m *Machine) shut(now Time, n uint32, l *lane) {
	b := &m.cfg.Breaker
	wait := b.ProbeMost
	if l.probes < 20 {
		wait = min(b.ProbeAfter<<l.probes, wait)
	}
	wait += time.Duration((2*m.rnd() - 1) * m.cfg.Jitter * float64(wait))
	l.closed = max(l.closed, now.Mono+wait)
	m.ring(l.closed, n)
	m.unload(l)
	m.soil(n)
}

// pick is the entry that probes: the oldest that is due, but not the one that
// probed last when there is another. So no delivery that always fails keeps the
// breaker open for the others, and none overtakes one that was never tried.
func (m *Machine) pick(l *lane) uint32 {
	ids := l.ready.ids
	if ids[0] != l.former || len(ids) == 1 {
		return ids[0]
	}
	if len(ids) > 2 && l.ready.less(m.t.ix, ids[2], ids[1]) {
		return ids[2]
	}
	return ids[1]
}

// paced follows the start of a try.
func (m *Machine) paced(now Time, n uint32, l *lane, id uint32, token uint64) {
	switch {
	case l.open:
		l.probing, l.former = token, id
	case l.rate > 0:
		l.closed = now.Mono + time.Second/time.Duration(l.rate)
		m.ring(l.closed, n)
	}
}

// probed reports whether a try that is over was the lane's probe.
func (l *lane) probed(token uint64) bool {
	if l.probing != token || token == 0 {
		return false
	}
	l.probing = 0
	return true
}

// forgive forgets that the receiver ever failed.
func (m *Machine) forgive(l *lane) {
	m.setOpen(l, false)
	l.probes, l.rate = 0, 0
}

func (m *Machine) setOpen(l *lane, open bool) {
	if l.open == open {
		return
	}
	l.open = open
	if open {
		m.t.open++
	} else {
		m.t.open--
	}
}

// remember takes the breaker from its record. What was recovering begins again
// with one a second.
func (m *Machine) remember(l *lane, h *facts.Health) {
	m.setOpen(l, h.GetOpen())
	l.probes, l.rate = h.GetProbes(), 0
	if l.probes > 0 && !l.open {
		l.rate = 1
	}
}
