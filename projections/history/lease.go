package history

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"
)

// How long a lease holds without being renewed, and how often it is.
const (
	leaseHolds  = 20 * time.Second
	leaseRenews = 3 * time.Second
	leaseLook   = 250 * time.Millisecond
	leaseTries  = 5
)

// Errors of leases.
var (
	// ErrRebuilding: another process makes or drops a history.
	ErrRebuilding = errors.New("another rebuild is under way")
	// ErrLeaseLost: the lease ran out, or another has taken it.
	ErrLeaseLost = errors.New("the lease on making histories is lost")
)

// Lease is the right to make and drop histories, which one process has at a
// time. It is kept in ClickHouse and judged by its clock alone: a process that
// slept can't act on a lease that has run out, because every step that matters is
// one statement that asks for the lease itself.
type Lease struct {
	h             *History
	token, holder string
}

// Acquire takes the lease. Another process's is watched until it runs out, or is
// renewed: then the error is ErrRebuilding.
func (h *History) Acquire(ctx context.Context) (*Lease, error) {
	if err := h.applyHome(ctx); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	l := &Lease{h: h, token: rand.Text(), holder: fmt.Sprintf("%s, process %d", host, os.Getpid())}
	for range leaseTries {
		if err := l.others(ctx); err != nil {
			return nil, err
		}
		if err := l.put(ctx, "now64(3) + "+seconds(leaseHolds), "1"); err != nil {
			return nil, err
		}
		// Two that take it at the same moment each see at least one other's row, or
		// one does: nobody goes on beside another.
		others, err := l.live(ctx)
		if err != nil {
			return nil, err
		}
		if len(others) == 0 {
			return l, nil
		}
		if err := l.Release(ctx); err != nil {
			return nil, err
		}
		if err := pause(ctx, randomly(time.Second)); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: several begin at the same time; try again", ErrRebuilding)
}

// others waits until nobody else has the lease.
func (l *Lease) others(ctx context.Context) error {
	seen := make(map[string]time.Time)
	for {
		live, err := l.live(ctx)
		if err != nil || len(live) == 0 {
			return err
		}
		for _, o := range live {
			if until, ok := seen[o.token]; ok && o.until.After(until) {
				return fmt.Errorf("%w: by %s, until it ends or is ended", ErrRebuilding, o.holder)
			}
			seen[o.token] = o.until
		}
		if err := pause(ctx, leaseLook); err != nil {
			return err
		}
	}
}

type heldLease struct {
	token, holder string
	until         time.Time
}

// live are the leases of others that hold now.
func (l *Lease) live(ctx context.Context) ([]heldLease, error) {
	rows, err := l.h.conn.Conn.Query(l.h.asking(ctx), l.h.inHome("SELECT token, holder, until FROM {{home}}.rebuild_lease FINAL "+
		"WHERE until > now64(3) AND token != "+text(l.token)))
	if err != nil {
		return nil, fmt.Errorf("ask who rebuilds: %w", err)
	}
	defer rows.Close()
	var all []heldLease
	for rows.Next() {
		var o heldLease
		if err := rows.Scan(&o.token, &o.holder, &o.until); err != nil {
			return nil, fmt.Errorf("ask who rebuilds: %w", err)
		}
		all = append(all, o)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask who rebuilds: %w", err)
	}
	return all, nil
}

func (l *Lease) put(ctx context.Context, until, when string) error {
	err := l.h.conn.Conn.Exec(l.h.writing(ctx), l.h.inHome("INSERT INTO {{home}}.rebuild_lease (token, holder, until) SELECT "+
		text(l.token)+", "+text(l.holder)+", "+until+" WHERE "+when))
	if err != nil {
		return fmt.Errorf("write the lease of rebuilds: %w", err)
	}
	return nil
}

// holds is a condition in SQL: this lease holds for a while yet.
func (l *Lease) holds() string {
	return "(SELECT max(until) FROM {{home}}.rebuild_lease FINAL WHERE token = " + text(l.token) + ") > now64(3) + INTERVAL 1 SECOND"
}

// Keep renews the lease until ctx ends, and returns ErrLeaseLost when it could
// not be in time: then whatever is under way must stop. It is not released.
func (l *Lease) Keep(ctx context.Context) error {
	good := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(leaseRenews):
		}
		asked := time.Now()
		err := l.put(ctx, "now64(3) + "+seconds(leaseHolds), l.h.inHome(l.holds()))
		if err == nil {
			err = l.check(ctx)
		}
		switch {
		case err == nil:
			good = asked
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was told to end
		case errors.Is(err, ErrLeaseLost), time.Since(good) > leaseHolds:
			return fmt.Errorf("%w: %w", ErrLeaseLost, err)
		}
	}
}

func (l *Lease) check(ctx context.Context) error {
	var holds uint8
	if err := l.h.conn.Conn.QueryRow(l.h.asking(ctx), l.h.inHome("SELECT toUInt8("+l.holds()+")")).Scan(&holds); err != nil {
		return fmt.Errorf("ask for the lease of rebuilds: %w", err)
	}
	if holds == 0 {
		return ErrLeaseLost
	}
	return nil
}

// Release gives the lease back.
func (l *Lease) Release(ctx context.Context) error {
	return l.put(ctx, "toDateTime64(0, 3, 'UTC')", "1")
}

// say appends a generation's new state, if the lease holds at that moment.
func (l *Lease) say(ctx context.Context, g Generation, state GenerationState, program string) error {
	err := l.h.conn.Conn.Exec(l.h.writing(ctx), l.h.inHome(fmt.Sprintf(
		"INSERT INTO {{home}}.generations (generation, state, database, program, holder) SELECT %d, %d, %s, %s, %s WHERE %s",
		g.Number, state, text(g.Database), text(program), text(l.holder), l.holds())))
	if err != nil {
		return fmt.Errorf("note that history %s is %s: %w", g.Database, state, err)
	}
	all, err := l.h.Generations(ctx)
	if err != nil {
		return err
	}
	for _, now := range all {
		if now.Number == g.Number && now.State == state {
			return nil
		}
	}
	return ErrLeaseLost
}

// String is the state as the table has it.
func (s GenerationState) String() string {
	switch s {
	case Building:
		return "building"
	case Live:
		return "live"
	case Dropped:
		return "dropped"
	}
	return "unknown"
}

// Begin makes the next generation, in an empty database of its own with this
// program's schema.
func (l *Lease) Begin(ctx context.Context, program string) (*History, Generation, error) {
	all, err := l.h.Generations(ctx)
	if err != nil {
		return nil, Generation{}, err
	}
	there, err := l.h.databases(ctx)
	if err != nil {
		return nil, Generation{}, err
	}
	g := Generation{Number: all[len(all)-1].Number}
	for g.Database == "" || there[g.Database] { // somebody else's
		g.Number++
		g.Database = fmt.Sprintf("%s_%d", l.h.home, g.Number)
	}
	if err := l.say(ctx, g, Building, program); err != nil {
		return nil, g, err
	}
	made := l.h.At(g.Database)
	return made, g, made.Apply(ctx)
}

// GoLive makes a generation the live one. From then on whoever reads or writes
// goes over to it.
func (l *Lease) GoLive(ctx context.Context, g Generation, program string) error {
	return l.say(ctx, g, Live, program)
}

// Drop removes a generation that is not live: first the note, then the data, so
// that nobody begins to read what is half gone. The home loses its tables but
// those that say which generations there are.
func (l *Lease) Drop(ctx context.Context, g Generation, program string) error {
	all, err := l.h.Generations(ctx)
	if err != nil {
		return err
	}
	if LiveOf(all).Number == g.Number {
		return fmt.Errorf("history %s is live and is not dropped", g.Database)
	}
	if err := l.say(ctx, g, Dropped, program); err != nil {
		return err
	}
	return l.h.remove(ctx, g.Database)
}

func seconds(d time.Duration) string { return fmt.Sprintf("INTERVAL %d SECOND", d/time.Second) }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func randomly(most time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(most)))
	if err != nil { // crypto/rand does not fail
		return most
	}
	return time.Duration(n.Int64())
}
