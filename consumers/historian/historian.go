package historian

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"hookledger/ledger"
	"hookledger/projections/history"
)

// Options of a historian. Log and History are required.
type Options struct {
	Log *ledger.Log
	// History that is written. One that is pinned to a database is written for
	// ever; otherwise the historian goes over when another history goes live.
	History *history.History
	// Sync returns when what ClickHouse has acknowledged survives a power cut; nil
	// where replicas are its answer. Places are shown, and so the log is trimmed,
	// after it only.
	Sync func(context.Context) error
	// Aside says that another historian, or an earlier one, is the one that
	// counts: this one copies nothing to the dead letters, and doesn't show its
	// places to the broker.
	Aside bool
	// MaxRows of one table and MaxBytes of records in a batch (defaults 50,000
	// and 32 MiB): a full batch is inserted at once.
	MaxRows, MaxBytes int
	// Linger is how long the first record of a batch waits for others while it is
	// quiet (default 100 ms).
	Linger time.Duration
	// Interval is the least time between batches at load (default 1 s).
	Interval time.Duration
	// MaxBackoff bounds the pause between tries while ClickHouse or the broker is
	// away (default 5 s).
	MaxBackoff time.Duration
	// Metrics (default: counted and never shown).
	Metrics *Metrics
	// Logger (default: none).
	Logger *slog.Logger
}

// Historian writes the history. See the package comment.
type Historian struct {
	opts Options
	log  *ledger.Log
	m    *Metrics
	// trouble is what it is waiting out, nil while all is well.
	trouble atomic.Pointer[error]
}

// errStarting is the trouble before the first look at ClickHouse.
var errStarting = errors.New("the historian is starting")

// New makes a historian. It does nothing before Run.
func New(o Options) (*Historian, error) {
	if o.Log == nil || o.History == nil {
		return nil, errors.New("historian: Options.Log and Options.History are required")
	}
	set(&o.MaxRows, 50_000)
	set(&o.MaxBytes, 32<<20)
	set(&o.Linger, 100*time.Millisecond)
	set(&o.Interval, time.Second)
	set(&o.MaxBackoff, 5*time.Second)
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Historian{opts: o, log: o.Log, m: o.Metrics}
	h.trouble.Store(&errStarting)
	return h, nil
}

func set[T comparable](field *T, otherwise T) {
	var zero T
	if *field == zero {
		*field = otherwise
	}
}

// Ready is nil while the historian writes, and says otherwise what it waits for.
func (h *Historian) Ready() error {
	if err := h.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// Run migrates the schema and writes the history until ctx ends, when it
// returns nil: what was read and not inserted is read again at the next start.
// Any other return is an error that needs an operator.
func (h *Historian) Run(ctx context.Context) error {
	err := h.run(ctx)
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return nil
	}
	if err == nil {
		err = errors.New("historian: ended without a reason")
	}
	h.trouble.Store(&err)
	return err
}

func (h *Historian) run(ctx context.Context) error {
	if h.opts.History.Pinned() {
		return h.write(ctx, h.opts.History)
	}
	return h.follow(ctx)
}

// write writes one database until ctx ends.
func (h *Historian) write(ctx context.Context, to *history.History) error {
	for {
		w, err := h.begin(ctx, to)
		if err != nil {
			return err
		}
		h.trouble.Store(nil)
		err = w.loop(ctx)
		w.reader.Close()
		var damage *DamageError
		if !errors.As(err, &damage) || !errors.Is(damage.Err, ledger.ErrBelowStart) {
			return err
		}
		// A historian on another node may have been quicker, or this one slept: what
		// lies below the other's places may be trimmed. Those places tell whether
		// anything is missing, and begin judges them.
		h.opts.Logger.Info("the historian begins again at the history's places: what it was to read was trimmed", "at", damage.Error())
	}
}

// try does something until it succeeds, with growing pauses, unless the error
// says that trying again is of no use.
func (h *Historian) try(ctx context.Context, what string, do func(context.Context) error) error {
	const first = 100 * time.Millisecond
	began := time.Now()
	for pause := first; ; pause = min(2*pause, h.opts.MaxBackoff) {
		err := do(ctx)
		if err == nil {
			if pause > first {
				h.opts.Logger.Info("the historian goes on", "after", what, "waited", time.Since(began).Round(time.Millisecond))
			}
			h.trouble.Store(nil)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if final(err) {
			return err
		}
		wrapped := fmt.Errorf("%s: %w", what, err)
		h.trouble.Store(&wrapped)
		h.m.Retries.Inc()
		h.opts.Logger.Warn("the historian waits; nothing is lost, the history is behind", "for", what, "error", err, "again_in", pause)
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// final says whether an error heals by an operator only.
func final(err error) bool {
	var damage *DamageError
	return errors.As(err, &damage) || errors.Is(err, history.ErrSchemaNewer) ||
		errors.Is(err, history.ErrSchemaChanged) || errors.Is(err, history.ErrSchemaOlder)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
