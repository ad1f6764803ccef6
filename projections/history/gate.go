package history

import (
	"context"
	"errors"
	"strings"
	"sync"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	lib "github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	schema "hookledger/schemas/clickhouse"
)

// target is the database that statements go to.
type target struct {
	name       string
	generation uint32
}

// position is where the statements of a History go, and the gate that they pass.
type position struct {
	home string
	// pinned is for ever at its target.
	pinned bool
	gate   *gate
	find   func(context.Context) (target, error)

	mu     sync.Mutex
	target target // empty until it was found
}

// now is the target, home while none was found.
func (p *position) now() target {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target.name == "" {
		return target{name: p.home, generation: 1}
	}
	return p.target
}

func (p *position) set(t target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = t
}

// where is the target, found at the first call.
func (p *position) where(ctx context.Context) (target, error) {
	p.mu.Lock()
	found := p.target
	p.mu.Unlock()
	if found.name != "" {
		return found, nil
	}
	found, err := p.find(ctx)
	if err != nil {
		return found, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target.name == "" {
		p.target = found
	}
	return p.target, nil
}

// enter passes the gate and says where to ask; leave must be called when the
// answer was read.
func (p *position) enter(ctx context.Context) (at target, leave func(), err error) {
	if p.pinned {
		return p.target, func() {}, nil
	}
	if err := p.gate.enter(ctx); err != nil {
		return at, nil, err
	}
	leave = sync.OnceFunc(p.gate.leave)
	if at, err = p.where(ctx); err != nil {
		leave()
		return at, nil, err
	}
	return at, leave, nil
}

// gate lets questions through, and can be closed for the moment in which the
// history goes over to another database: what was asked before is answered
// before, so that no answer is older than one that came earlier.
type gate struct {
	mu     sync.Mutex
	inside int
	opened chan struct{} // closed when the gate opens; nil while it is open
	idle   chan struct{} // closed when the last has left; nil unless waited for
}

func newGate() *gate { return new(gate) }

func (g *gate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		opened := g.opened
		if opened == nil {
			g.inside++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// shut closes the gate and waits until all that are inside have left, or ctx
// ends. The gate is closed either way until open is called.
func (g *gate) shut(ctx context.Context) error {
	g.mu.Lock()
	g.opened = make(chan struct{})
	if g.inside == 0 {
		g.mu.Unlock()
		return nil
	}
	idle := make(chan struct{})
	g.idle = idle
	g.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
	g.opened, g.idle = nil, nil
}

// asker is a connection whose statements say {{db}} where the database's name
// belongs.
type asker struct {
	lib.Conn
	at *position
}

func named(statement, database string) string {
	return strings.ReplaceAll(statement, "{{db}}", schema.Identifier(database))
}

// Query passes the gate, and leaves it when the rows are closed. A process that
// slept while its database was dropped looks where the live one is, and asks there.
func (a asker) Query(ctx context.Context, query string, args ...any) (lib.Rows, error) {
	for tries := 0; ; tries++ {
		at, leave, err := a.at.enter(ctx)
		if err != nil {
			return nil, err
		}
		rows, err := a.Conn.Query(ctx, named(query, at.name), args...)
		if err == nil {
			return &gatedRows{rows, leave}, nil
		}
		leave()
		if tries > 0 || !missing(err) || !a.moved(ctx, at) {
			return nil, err
		}
	}
}

// moved says whether another database is live than the one where a question failed.
func (a asker) moved(ctx context.Context, from target) bool {
	if a.at.pinned {
		return false
	}
	found, err := a.at.find(ctx)
	if err != nil || found == from {
		return false
	}
	a.at.set(found)
	return true
}

// Exec puts the database's name in.
func (a asker) Exec(ctx context.Context, query string, args ...any) error {
	at, err := a.at.where(ctx)
	if err != nil {
		return err
	}
	return a.Conn.Exec(ctx, named(query, at.name), args...)
}

// QueryRow puts the database's name in. It does not pass the gate: it is for
// questions whose answers nobody compares with earlier ones.
func (a asker) QueryRow(ctx context.Context, query string, args ...any) lib.Row {
	return a.Conn.QueryRow(ctx, named(query, a.at.now().name), args...)
}

// PrepareBatch puts the database's name in.
func (a asker) PrepareBatch(ctx context.Context, query string, opts ...lib.PrepareBatchOption) (lib.Batch, error) {
	at, err := a.at.where(ctx)
	if err != nil {
		return nil, err
	}
	return a.Conn.PrepareBatch(ctx, named(query, at.name), opts...)
}

// gatedRows leave the gate when they are closed.
type gatedRows struct {
	lib.Rows
	leave func()
}

// Close ends the answer.
func (r *gatedRows) Close() error {
	defer r.leave()
	return r.Rows.Close()
}

// What ClickHouse says of a table or database that is not there.
const (
	unknownTable    = 60
	unknownDatabase = 81
)

func missing(err error) bool {
	e, ok := errors.AsType[*driver.Exception](err)
	return ok && (e.Code == unknownTable || e.Code == unknownDatabase)
}
