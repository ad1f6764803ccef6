package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"hookledger/consumers/dispatcher/partition"
	"hookledger/consumers/sender"
	"hookledger/ledger"
	"hookledger/ledger/ids"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// Group is the name of the dispatchers' consumer group. Its commits only
// inform lag monitors.
const Group = "dispatcher"

// Options of New. All without a default are required.
type Options struct {
	Log    *ledger.Log
	Config *subscriptions.Subscriptions
	Sender *sender.Sender
	// OpenSecret decrypts a signing secret.
	OpenSecret func(sealed subscriptions.Sealed, webhook ids.ID) (sender.Secret, error)
	// Node is this node's name: a static member of the group, named in owner records.
	Node string
	// Rules of the protocol; partition.Defaults().
	Rules partition.Config
	// MaxInFlight tries on this node (default 4096).
	MaxInFlight int
	// MaxSlow more that may run for longer than SlowAfter (default 1024 and 2 s).
	// A slow try leaves its place among MaxInFlight; beyond MaxSlow the oldest is cut.
	MaxSlow   int
	SlowAfter time.Duration
	// MaxWaiting deliveries in lanes on this node, beyond which fetching pauses (default 5,000,000).
	MaxWaiting int
	// BodyBytes bounds the bodies that were made again and are in flight (default 64 MiB).
	BodyBytes int64
	// Unclean says that the embedded broker may have lost its last records.
	Unclean bool
	// StillRead says, for each partition of `deliveries`, from where others have
	// yet to read: what lies there is not trimmed.
	StillRead func(ctx context.Context) (map[int32]int64, error)
	// Session is how long the group waits for a silent node (default 10 s). It has
	// to be longer than the lease of Rules.
	Session time.Duration
	// DrainFor is what tries in flight get at a stop (default 10 s).
	DrainFor time.Duration
	Logger   *slog.Logger
	Metrics  *Metrics
}

// Dispatcher carries out the deliveries of the partitions that the group gives this node.
type Dispatcher struct {
	Options
	slots   *slots
	trims   *trims
	secrets *secretCache
	bodies  *semaphore.Weighted
	workers []*worker
	started time.Time

	fast, slow *ledger.Reader
	appender   *appender

	mu     sync.Mutex
	owned  map[int32]bool
	joined bool
}

// New makes a dispatcher; Run starts it.
func New(o Options) (*Dispatcher, error) {
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 4096
	}
	if o.MaxSlow == 0 {
		o.MaxSlow = 1024
	}
	if o.SlowAfter == 0 {
		o.SlowAfter = 2 * time.Second
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = 5_000_000
	}
	if o.BodyBytes == 0 {
		o.BodyBytes = 64 << 20
	}
	if o.DrainFor == 0 {
		o.DrainFor = 10 * time.Second
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Session == 0 {
		o.Session = 10 * time.Second
	}
	if o.Rules.Lease >= o.Session {
		return nil, fmt.Errorf("the lease of %s has to be shorter than the session timeout of %s", o.Rules.Lease, o.Session)
	}
	secrets, err := newSecretCache(o.OpenSecret)
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{
		Options: o, trims: newTrims(), secrets: secrets, slots: newSlots(o.MaxInFlight, o.MaxSlow, o.SlowAfter), bodies: semaphore.NewWeighted(o.BodyBytes),
		started: time.Now(), owned: make(map[int32]bool),
	}
	for p := range o.Log.Partitions(ledger.Deliveries) {
		d.workers = append(d.workers, newWorker(d, p))
	}
	return d, nil
}

// now is the moment as the machines know it.
func (d *Dispatcher) now() partition.Time {
	return partition.Time{Mono: time.Since(d.started), Wall: time.Now().UnixMilli()}
}

// Webhook implements partition.View by the fold of config.
func (d *Dispatcher) Webhook(id ids.ID) partition.Webhook {
	w, ok := d.Config.ByID(id)
	if !ok {
		if _, deleted := d.Config.Tombstone(id); deleted {
			return partition.Webhook{State: partition.Deleted}
		}
		return partition.Webhook{}
	}
	state := partition.Active
	switch w.Status {
	case facts.WebhookStatus_WEBHOOK_STATUS_PAUSED:
		state = partition.Paused
	case facts.WebhookStatus_WEBHOOK_STATUS_DISABLED:
		state = partition.Disabled
	case facts.WebhookStatus_WEBHOOK_STATUS_ACTIVE, facts.WebhookStatus_WEBHOOK_STATUS_UNSPECIFIED:
	}
	return partition.Webhook{State: state, Version: w.Version}
}

// Run dispatches until ctx ends, then drains. It returns an error only when it
// could not begin, or can't go on as a whole.
func (d *Dispatcher) Run(ctx context.Context) (err error) {
	// What goes on while draining runs under a context of its own.
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if d.appender, err = newAppender(d.Log); err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	defer d.appender.close()
	if d.fast, err = d.Log.NewReader(ledger.ReaderOptions{}); err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	defer d.fast.Close()
	// The tail of `attempts` is in no hurry: most of it is this node's own.
	if d.slow, err = d.Log.NewReader(ledger.ReaderOptions{MinBytes: 256 << 10, MaxWait: 250 * time.Millisecond}); err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	defer d.slow.Close()

	sends, cut := context.WithCancelCause(live)
	defer cut(nil)
	running, groupCtx := errgroup.WithContext(live)
	for _, w := range d.workers {
		running.Go(func() error { return w.run(groupCtx, sends) })
	}
	running.Go(func() error { return d.read(groupCtx, d.fast) })
	running.Go(func() error { return d.read(groupCtx, d.slow) })
	running.Go(func() error { return d.watchConfig(groupCtx) })
	running.Go(func() error { return d.trimLoop(groupCtx) })

	group, err := d.Log.Join(ledger.GroupOptions{
		Name: Group, Topic: ledger.Deliveries, Instance: d.Node, Session: d.Session,
		OnAssigned:  d.assigned,
		OnLost:      d.lost,
		OnHeartbeat: d.heartbeat,
	})
	if err != nil {
		stop()
		return errors.Join(fmt.Errorf("dispatcher: %w", err), running.Wait())
	}
	select {
	case <-ctx.Done():
	case <-groupCtx.Done():
	}
	d.drain(groupCtx, cut)
	group.Close()
	stop()
	for _, w := range d.workers {
		w.sending.Wait()
	}
	if err := running.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("dispatcher: %w", err)
	}
	return nil
}

// errShutdown is why a try was cut, as its fact says.
var errShutdown = errors.New("the node is stopping")

// drain ends the tries under way, with patience first.
func (d *Dispatcher) drain(ctx context.Context, cut context.CancelCauseFunc) {
	for _, w := range d.workers {
		w.box.put(input{kind: inDrain})
	}
	patience := time.NewTimer(d.DrainFor)
	defer patience.Stop()
	last := time.NewTimer(d.DrainFor + 5*time.Second)
	defer last.Stop()
	for _, w := range d.workers {
		for done := false; !done; {
			select {
			case <-w.drained:
				done = true
			case <-patience.C:
				d.Logger.Warn("cutting the tries that are still in flight, as interrupted")
				cut(errShutdown)
			case <-last.C:
				d.Logger.Error("not all of the dispatcher's work was settled in time; the next owner settles it")
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

func (d *Dispatcher) assigned(partitions []int32, generation int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.joined = true
	heard := d.now().Mono
	for _, p := range partitions {
		d.owned[p] = true
		// The group has just spoken: the claim need not wait for the first heartbeat.
		d.workers[p].box.put(input{kind: inHeartbeat, at: heard})
		d.workers[p].box.put(input{kind: inAssigned, gen: generation})
	}
	d.Logger.Info("partitions assigned", "partitions", partitions, "generation", generation)
}

func (d *Dispatcher) lost(partitions []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range partitions {
		delete(d.owned, p)
		d.workers[p].box.put(input{kind: inLost})
	}
	d.Logger.Info("partitions lost", "partitions", partitions)
}

func (d *Dispatcher) heartbeat(sent time.Time) {
	for _, w := range d.workers {
		w.box.put(input{kind: inHeartbeat, at: sent.Sub(d.started)})
	}
}

// watchConfig tells the machines which webhooks changed.
func (d *Dispatcher) watchConfig(ctx context.Context) error {
	changes := d.Config.Changes()
	defer d.Config.Unwatch(changes)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes.C:
		}
		for _, c := range changes.Take() {
			w := d.workers[d.Log.WebhookPartition(c.ID[:])]
			w.box.put(input{kind: inWebhookChanged, id: c.ID})
		}
	}
}

// Ready says why this node can't dispatch: nil when it belongs to the group
// and every partition that it has is taken over.
func (d *Dispatcher) Ready() error {
	d.mu.Lock()
	joined, owned := d.joined, make([]int32, 0, len(d.owned))
	for p := range d.owned {
		owned = append(owned, p)
	}
	d.mu.Unlock()
	if !joined {
		return errors.New("dispatcher: not yet in its group")
	}
	var faults []error
	for _, p := range owned {
		state := d.workers[p].state.Load()
		switch {
		case state.err != nil:
			faults = append(faults, state.err)
		case !state.stats.Owner:
			faults = append(faults, fmt.Errorf("dispatcher: taking over partition %d", p))
		}
	}
	return errors.Join(faults...)
}

// rnd spreads waits.
func rnd() float64 { return rand.Float64() }
