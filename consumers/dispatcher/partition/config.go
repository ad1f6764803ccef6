package partition

import "time"

// Config holds the rules that an operator may set. Use Defaults and change
// what differs.
type Config struct {
	// Schedule is the wait after the first, second, ... failed try of a round.
	// When it is used up the round is given up.
	Schedule []time.Duration
	// Jitter spreads each wait by up to this part of it, both ways.
	Jitter float64
	// GiveUpAfter ends a round this long after its first try, pauses left out.
	GiveUpAfter time.Duration
	// Hold is how long a paused or disabled webhook's deliveries are kept.
	Hold time.Duration
	// MaxRetryAfter bounds what a receiver's Retry-After can ask for.
	MaxRetryAfter time.Duration

	// PerWebhook is how many requests may be in flight to one webhook.
	PerWebhook int
	// Breaker is when a receiver is left alone, and for how long.
	Breaker Breaker
	// MaxUndecided bounds the requests that were fetched and are neither in
	// flight nor settled. Beyond it Deliveries still accepts, but see Undecided.
	MaxUndecided int
	// MaxBodyBytes bounds the bodies kept for requests that have not started;
	// beyond it a body is dropped and made again from its content.
	MaxBodyBytes int
	// StartBatch is how many slots the driver offers to Start when it has them:
	// fewer means that the node's are used up.
	StartBatch int
	// SpillAfter is how long a request waits in memory for room in its lane, or
	// for a slot of the node, before it is written to `lanes`.
	SpillAfter time.Duration
	// LoadBatch is how many lane records may be on their way in at a time.
	LoadBatch int

	// CheckpointEvery is the interval of checkpoints while something changes,
	// and for IdleAfter after the last change. Then they stop, and the first
	// work that comes waits for one.
	CheckpointEvery time.Duration
	IdleAfter       time.Duration
	// ClockSkew is how far the clocks of two nodes may differ: what is due
	// within it at a takeover may have been started by the former owner.
	ClockSkew time.Duration
	// Lease is how old the last checkpoint and heartbeat may be at a start. It
	// must be less than the group's session timeout.
	Lease time.Duration
	// RememberEnds is how long ends are kept to judge retries by hand.
	RememberEnds time.Duration
	// CarryBatch is how many records one step of cleaning carries forward.
	CarryBatch int
	// CleanAbove is the number of records in `lanes` below which it is not cleaned.
	CleanAbove int

	// DisableAfter, DisableFailures and DisableSpread: a webhook is disabled
	// after this long without a success, with at least so many failures in a
	// row, spread over at least so long.
	DisableAfter    time.Duration
	DisableFailures int
	DisableSpread   time.Duration
}

// Defaults are the rules that DESIGN names.
func Defaults() Config {
	return Config{
		Schedule: []time.Duration{
			5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
			10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
		},
		Jitter:          0.10,
		GiveUpAfter:     84 * time.Hour,
		Hold:            7 * 24 * time.Hour,
		MaxRetryAfter:   6 * time.Hour,
		PerWebhook:      64,
		Breaker:         DefaultBreaker(),
		MaxUndecided:    4096,
		MaxBodyBytes:    8 << 20,
		StartBatch:      512,
		SpillAfter:      250 * time.Millisecond,
		LoadBatch:       256,
		CheckpointEvery: time.Second,
		IdleAfter:       time.Minute,
		ClockSkew:       time.Minute,
		Lease:           3 * time.Second,
		RememberEnds:    10 * time.Minute,
		CarryBatch:      512,
		CleanAbove:      4096,
		DisableAfter:    5 * 24 * time.Hour,
		DisableFailures: 10,
		DisableSpread:   12 * time.Hour,
	}
}
