package history

import (
	"context"
	"fmt"
	"strings"
	"sync"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"golang.org/x/sync/errgroup"

	"hookledger/ledger/ids"
)

// Insert writes the rows and returns when every table has acknowledged them. It
// may be repeated. States go last, so that a state is not seen before the
// attempts that it stands for.
func (h *History) Insert(ctx context.Context, b *Batch) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return insert(gctx, h, "attempts", attemptColumns(), b.Attempts) })
	g.Go(func() error { return insert(gctx, h, "events", eventColumns(), b.Events) })
	g.Go(func() error { return insert(gctx, h, "config_changes", configColumns(), b.Changes) })
	if err := g.Wait(); err != nil {
		return err
	}
	return insert(ctx, h, "deliveries", deliveryColumns(), b.Deliveries)
}

// columnOf is a column and how its values come out of rows of type R.
type columnOf[R any] struct {
	name   string
	values func([]R) any
	// plain appends the value as rowhash.go writes it down; raw says that it is
	// bytes of a fixed length.
	plain func(*R, []byte) []byte
	raw   bool
}

func of[R any, T plainValue](name string, value func(*R) T) columnOf[R] {
	return columnOf[R]{name: name, values: func(rows []R) any {
		all := make([]T, len(rows))
		for i := range rows {
			all[i] = value(&rows[i])
		}
		return all
	}, plain: func(r *R, to []byte) []byte { return appendPlain(to, value(r)) }}
}

// rawOf is a column of a fixed number of raw bytes.
func rawOf[R any](name string, value func(*R) []byte) columnOf[R] {
	c := of(name, value)
	c.raw = true
	c.plain = func(r *R, to []byte) []byte { return appendRaw(to, value(r)) }
	return c
}

// idOf is a column of 16 raw bytes.
func idOf[R any](name string, value func(*R) *ids.ID) columnOf[R] {
	return rawOf(name, func(r *R) []byte { return value(r)[:] })
}

// columnTypes remembers the types of the tables' columns: over HTTP the driver
// would ask for them before every insert.
type columnTypes struct {
	mu    sync.Mutex
	known map[string]map[string]string
}

func (h *History) typesOf(ctx context.Context, table string) (map[string]string, error) {
	h.types.mu.Lock()
	defer h.types.mu.Unlock()
	if types, ok := h.types.known[table]; ok {
		return types, nil
	}
	rows, err := h.conn.Query(h.asking(ctx), "SELECT name, type FROM system.columns WHERE database = ? AND table = ?", h.Database(), table)
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", table, err)
	}
	defer rows.Close()
	types := make(map[string]string)
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return nil, fmt.Errorf("read the columns of %s: %w", table, err)
		}
		types[name] = kind
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", table, err)
	}
	if len(types) == 0 {
		return nil, fmt.Errorf("table %s.%s is missing: start `hookledger serve` once, or `hookledger rebuild`", h.Database(), table)
	}
	if h.types.known == nil {
		h.types.known = make(map[string]map[string]string)
	}
	h.types.known[table] = types
	return types, nil
}

func insert[R any](ctx context.Context, h *History, table string, columns []columnOf[R], rows []R) error {
	if len(rows) == 0 {
		return nil
	}
	types, err := h.typesOf(ctx, table)
	if err != nil {
		return err
	}
	names := make([]string, len(columns))
	typed := make([]driver.ColumnNameAndType, len(columns))
	for i, c := range columns {
		names[i] = c.name
		typed[i] = driver.ColumnNameAndType{Name: c.name, Type: types[c.name]}
	}
	ctx = driver.Context(h.writing(ctx), driver.WithColumnNamesAndTypes(typed))
	batch, err := h.conn.PrepareBatch(ctx, h.sql("INSERT INTO {{db}}."+table+" ("+strings.Join(names, ", ")+")"))
	if err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", len(rows), table, err)
	}
	defer func() { _ = batch.Close() }() // after Send it says nothing new
	for i, c := range columns {
		if err := batch.Column(i).Append(c.values(rows)); err != nil {
			return fmt.Errorf("insert %d rows into %s: column %s: %w", len(rows), table, c.name, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", len(rows), table, err)
	}
	return nil
}
