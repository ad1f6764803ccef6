package rebuilder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"hookledger/consumers/historian"
	"hookledger/consumers/verifier"
	"hookledger/ledger"
	"hookledger/projections/history"
)

// Options of a rebuild. Log and History are required.
type Options struct {
	Log     *ledger.Log
	History *history.History
	// Program is this program's version, for the record.
	Program string
	// Workers is how many partitions are read at a time; see historian.FillOptions.
	Workers int
	// VerifyMemory bounds what verifying holds; see verifier.Options.
	VerifyMemory int64
	// DropOld removes the history before, Grace after the switch.
	DropOld bool
	// Grace is how long the tail goes on after the switch (default 5 s), and how
	// long the old history is kept then before DropOld removes it.
	Grace time.Duration
	// Alone says that no other process serves: nobody has to go over.
	Alone bool
	// Sync returns when what ClickHouse has acknowledged survives a power cut; nil
	// where replicas are its answer, or another process has the engine.
	Sync func(context.Context) error
	// AnyDisk begins though there seems to be too little room.
	AnyDisk bool
	Logger  *slog.Logger
	// Step, when set, is told of each step before it is taken, and may end the
	// rebuild there: for tests of crashes.
	Step func(Step) error
}

// Step is a moment of a rebuild.
type Step string

// The steps, in order.
const (
	StepFill   Step = "filling the new history"
	StepTail   Step = "catching up with what came meanwhile"
	StepVerify Step = "verifying it against the log"
	StepSwitch Step = "switching"
	StepViews  Step = "pointing the auditors' views at it"
	StepDrop   Step = "dropping the old history"
	StepDone   Step = "done"
)

// Result is what a rebuild did.
type Result struct {
	Database, Before string
	Generation       uint32
	Records          int64
	Carried          []historian.Carried
	Report           *verifier.Report
	Took             time.Duration
	// Kept are histories that are not live and still take room.
	Kept []string
}

// Errors of a rebuild.
var (
	// ErrNoRoom: the disk has no room for a second history.
	ErrNoRoom = errors.New("the disk has too little room for a second history")
	// ErrAbandoned, returned by Options.Step, ends a rebuild as a crash would:
	// nothing is tidied up.
	ErrAbandoned = errors.New("abandoned")
	// ErrDifferent: the new history is not what the log says. It was removed.
	ErrDifferent = errors.New("the new history differs from the log")
)

// Room that must be free: a second history and some more to begin, and some at
// any time: a full disk would stop the log too.
const (
	roomToBegin = 512 << 20
	roomToGoOn  = 256 << 20
	roomLook    = 5 * time.Second
)

// Rebuild is one rebuild.
type Rebuild struct {
	Options
	fill   atomic.Pointer[historian.Fill]
	verify atomic.Pointer[verifier.Verifier]
	step   atomic.Pointer[Step]
}

// New makes a rebuild; nothing is done before Run.
func New(o Options) *Rebuild {
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Rebuild{Options: o}
	r.step.Store(new(Step))
	return r
}

// Progress is the step, what of it is being done, and how many records were read of how many.
func (r *Rebuild) Progress() (step Step, phase string, read, total int64) {
	step = *r.step.Load()
	switch {
	case step == StepFill && r.fill.Load() != nil:
		read, total, phase = r.fill.Load().Progress()
	case step == StepVerify && r.verify.Load() != nil:
		read, total, phase = r.verify.Load().Progress()
	}
	return step, phase, read, total
}

func (r *Rebuild) at(s Step) error {
	r.step.Store(&s)
	if r.Step != nil {
		return r.Step(s)
	}
	return nil
}

// Run makes the history again and switches to it. When it returns with an error
// before the switch, what was half made is removed.
func (r *Rebuild) Run(ctx context.Context) (result *Result, err error) {
	began := time.Now()
	lease, err := r.History.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		if err := lease.Keep(ctx); err != nil {
			cancel(err)
		}
	}()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = errors.Join(err, ignoreCanceled(context.Cause(ctx)))
		}
		cancel(nil)
		<-kept
		if !errors.Is(err, ErrAbandoned) {
			tidy, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer stop()
			err = errors.Join(err, lease.Release(tidy))
		}
	}()
	if err := r.clean(ctx, lease, false); err != nil {
		return nil, err
	}
	live, before, err := r.History.Live(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.room(ctx, live); err != nil {
		return nil, err
	}
	made, g, err := lease.Begin(ctx, r.Program)
	if err != nil {
		return nil, err
	}
	r.Logger.Info("the history is made again from the log", "database", g.Database, "live", before.Database)
	result = &Result{Database: g.Database, Before: before.Database, Generation: g.Number}
	watch, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	go func() {
		if err := r.watchRoom(watch, made); err != nil {
			cancel(err)
		}
	}()
	switched, err := r.make(ctx, lease, live, made, g, result)
	if err != nil && !switched && !errors.Is(err, ErrAbandoned) {
		tidy, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer stop()
		if dropErr := lease.Drop(tidy, g, r.Program); dropErr != nil {
			err = errors.Join(err, fmt.Errorf("the half-made history %s is removed by the next rebuild, or `hookledger rebuild --clean`: %w", g.Database, dropErr))
		}
		return result, err
	}
	if err != nil {
		return result, err
	}
	if r.DropOld {
		if err := r.at(StepDrop); err != nil {
			return result, err
		}
		if err := r.clean(ctx, lease, true); err != nil {
			return result, err
		}
	}
	old, half, err := r.History.Leftovers(ctx)
	for _, g := range append(old, half...) {
		result.Kept = append(result.Kept, g.Database)
	}
	result.Took = time.Since(began)
	return result, errors.Join(err, r.at(StepDone))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// make fills, verifies and switches.
func (r *Rebuild) make(ctx context.Context, lease *history.Lease, live, made *history.History, g history.Generation, result *Result) (switched bool, err error) {
	if err := r.at(StepFill); err != nil {
		return false, err
	}
	fill, err := historian.NewFill(historian.FillOptions{Log: r.Log, To: made, From: live, Workers: r.Workers, Logger: r.Logger})
	if err != nil {
		return false, err
	}
	r.fill.Store(fill)
	if err := fill.Run(ctx); err != nil {
		return false, err
	}
	result.Records, _, _ = fill.Progress()
	result.Carried = fill.Carried()

	if err := r.at(StepTail); err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	tailed := make(chan struct{})
	go func() {
		defer close(tailed)
		cancel(r.tail(ctx, fill, made))
	}()
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		cancel(nil)
		<-tailed
	}()
	if err := r.at(StepVerify); err != nil {
		return false, err
	}
	check, err := verifier.New(verifier.Options{Log: r.Log, History: made, Memory: r.VerifyMemory})
	if err != nil {
		return false, err
	}
	r.verify.Store(check)
	if result.Report, err = check.Run(ctx); err != nil {
		return false, err
	}
	if !result.Report.Equal() {
		return false, fmt.Errorf("%w, so it does not go live; the history that was live still is: this is a fault of the program or of the log's clocks, please report it with the list of differences", ErrDifferent)
	}
	for {
		covers, err := made.Covers(ctx, live)
		if err != nil {
			return false, err
		}
		if covers {
			break
		}
		if err := sleep(ctx, coverLook); err != nil {
			return false, err
		}
	}
	if err := r.at(StepSwitch); err != nil {
		return false, err
	}
	if err := r.sync(ctx); err != nil {
		return false, err
	}
	if err := lease.GoLive(ctx, g, r.Program); err != nil {
		return false, err
	}
	if err := r.sync(ctx); err != nil {
		return true, err
	}
	if err := r.at(StepViews); err != nil {
		return true, err
	}
	if err := made.ApplyViews(ctx); err != nil {
		return true, err
	}
	if r.Alone {
		return true, nil
	}
	return true, sleep(ctx, r.Grace)
}

func (r *Rebuild) sync(ctx context.Context) error {
	if r.Sync == nil {
		return nil
	}
	return r.Sync(ctx)
}

// coverLook is between two looks whether the new history has all that the live one has.
const coverLook = 20 * time.Millisecond

// tail keeps the new history current.
func (r *Rebuild) tail(ctx context.Context, fill *historian.Fill, made *history.History) error {
	for {
		h, err := historian.New(historian.Options{Log: r.Log, History: made, Aside: true, Logger: r.Logger})
		if err != nil {
			return err
		}
		err = h.Run(ctx)
		damage, ok := errors.AsType[*historian.DamageError](err)
		if !ok || damage.Topic != ledger.Deliveries || !errors.Is(err, ledger.ErrBelowStart) {
			return err
		}
		// The dispatcher trimmed what this tail had yet to read: what it means is in
		// attempts and lanes.
		if err := fill.Again(ctx, damage.Partition); err != nil {
			return err
		}
	}
}

// clean removes what is half made, and the old histories, if the live one has all that they have.
func (r *Rebuild) clean(ctx context.Context, lease *history.Lease, onlyOld bool) error {
	old, half, err := r.History.Leftovers(ctx)
	if err != nil {
		return err
	}
	live, _, err := r.History.Live(ctx)
	if err != nil {
		return err
	}
	for _, g := range old {
		covers, err := live.Covers(ctx, r.History.At(g.Database))
		if err != nil {
			return err
		}
		if !covers {
			r.Logger.Warn("an old history is kept: the live one does not have all of it yet", "database", g.Database)
			continue
		}
		if err := r.drop(ctx, lease, g); err != nil {
			return err
		}
	}
	if onlyOld {
		return nil
	}
	for _, g := range half {
		if err := r.drop(ctx, lease, g); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rebuild) drop(ctx context.Context, lease *history.Lease, g history.Generation) error {
	if err := lease.Drop(ctx, g, r.Program); err != nil {
		return err
	}
	r.Logger.Info("a history that is not live was dropped", "database", g.Database)
	return nil
}

// Clean drops every history that is not live, and makes none.
func (r *Rebuild) Clean(ctx context.Context) error {
	lease, err := r.History.Acquire(ctx)
	if err != nil {
		return err
	}
	return errors.Join(r.clean(ctx, lease, false), lease.Release(context.WithoutCancel(ctx)))
}

// room refuses to begin without room for a second history.
func (r *Rebuild) room(ctx context.Context, live *history.History) error {
	if r.AnyDisk {
		return nil
	}
	s, err := live.Space(ctx)
	if err != nil {
		return err
	}
	if need := s.Used + s.Used/5 + roomToBegin; s.Free < need {
		return fmt.Errorf("%w: the live one takes %s, so %s should be free, and %s is: make room (`hookledger rebuild --clean` drops old histories), or say --any-disk",
			ErrNoRoom, mib(s.Used), mib(need), mib(s.Free))
	}
	return nil
}

// watchRoom ends the rebuild before the disk is full.
func (r *Rebuild) watchRoom(ctx context.Context, made *history.History) error {
	for sleep(ctx, roomLook) == nil {
		s, err := made.Space(ctx)
		if err == nil && s.Free < roomToGoOn {
			return fmt.Errorf("%w: only %s is left, so the rebuild was given up and what it made is removed", ErrNoRoom, mib(s.Free))
		}
	}
	return nil
}

func mib(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

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
