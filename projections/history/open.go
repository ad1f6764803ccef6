package history

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// DefaultDatabase is the database of the history.
const DefaultDatabase = "hookledger"

// Options say where the history is.
type Options struct {
	// DSN as clickhouse-go reads it: clickhouse://user:password@host:9000/database,
	// or http:// and https:// for the HTTP interface.
	DSN string
	// Database overrides the DSN's. When neither names one: DefaultDatabase.
	Database string
	// AuditDatabase is where ApplyViews puts the views for auditors; default DefaultAuditDatabase.
	AuditDatabase string
	// Transport replaces what requests over the HTTP interface go through. It is
	// given what it would be.
	Transport func(*http.Transport) (http.RoundTripper, error)
	// MaxQueryTime is max_execution_time of a question; default 10 s.
	MaxQueryTime time.Duration
	// Now is the clock that tells which window of a list is searched first. It
	// decides how fast an answer comes, never what it is. Default time.Now.
	Now func() time.Time
}

// History is the history in ClickHouse: one database, or, where it was rebuilt,
// the one that is live (see generations.go). Its methods are safe for concurrent
// use. Close ends it.
type History struct {
	// conn puts the database's name in the place of {{db}} in every statement.
	conn asker
	// home is the database that was configured. It names the live one.
	home    string
	audit   string // the database of the views
	maxTime time.Duration
	now     func() time.Time
	types   columnTypes
}

// Open reads the DSN and makes a pool of connections; it reaches ClickHouse at
// the first question, and asks then which database is live. Follow keeps it
// there.
func Open(o Options) (*History, error) {
	opts, err := driver.ParseDSN(o.DSN)
	if err != nil {
		// The parser's error may quote the DSN, which holds a password.
		return nil, errors.New("read the ClickHouse DSN: it is not of the form clickhouse://user:password@host:9000/database or http://user:password@host:8123/database")
	}
	opts.TransportFunc = o.Transport
	h := &History{home: o.Database, audit: o.AuditDatabase, maxTime: o.MaxQueryTime, now: o.Now}
	if h.home == "" {
		h.home = opts.Auth.Database
	}
	if h.home == "" || h.home == "default" {
		h.home = DefaultDatabase
	}
	if h.audit == "" {
		h.audit = DefaultAuditDatabase
	}
	// Every statement names its database, so the connection needs none: the
	// history's own may not be there yet.
	opts.Auth.Database = "default"
	if h.maxTime == 0 {
		h.maxTime = 10 * time.Second
	}
	if h.now == nil {
		h.now = time.Now
	}
	conn, err := driver.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	h.conn = asker{Conn: conn, at: &position{home: h.home, gate: newGate()}}
	h.conn.at.find = h.choose
	return h, nil
}

// At is the history in another database, over the same connections. It stays
// there, whichever is live, and needs no Close.
func (h *History) At(database string) *History {
	pinned := &position{home: h.home, target: target{name: database}, pinned: true}
	return &History{conn: asker{Conn: h.conn.Conn, at: pinned}, home: h.home, audit: h.audit, maxTime: h.maxTime, now: h.now}
}

// Pinned says that questions stay where they are, whichever history is live.
func (h *History) Pinned() bool { return h.conn.at.pinned }

// Database is the name of the database that questions go to.
func (h *History) Database() string { return h.conn.at.now().name }

// Close ends the connections.
func (h *History) Close() error { return h.conn.Close() }

// Ping asks ClickHouse whether it is there.
func (h *History) Ping(ctx context.Context) error {
	if err := h.conn.Ping(ctx); err != nil {
		return fmt.Errorf("reach ClickHouse: %w", err)
	}
	return nil
}

// asking is the context of a question: FINAL need not look across partitions,
// because no key ever changes its own.
func (h *History) asking(ctx context.Context) context.Context {
	return driver.Context(ctx, driver.WithSettings(driver.Settings{
		"max_execution_time":                          int(max(h.maxTime/time.Second, 1)),
		"do_not_merge_across_partitions_select_final": 1,
		// Chosen by reading: a question reads few granules, and threads cost more than they bring.
		"max_threads": 2,
	}))
}

// writing is the context of an insert.
func (h *History) writing(ctx context.Context) context.Context {
	return driver.Context(ctx, driver.WithSettings(driver.Settings{
		// Acknowledged means written, not queued.
		"async_insert": 0,
		// Times come from records; a strange one must not make a batch that can never be inserted.
		"max_partitions_per_insert_block": 0,
	}))
}

// computing is the context of a recomputation inside ClickHouse.
func (h *History) computing(ctx context.Context) context.Context {
	return driver.Context(ctx, driver.WithSettings(driver.Settings{
		"async_insert":                                0,
		"max_partitions_per_insert_block":             0,
		"max_execution_time":                          int(max(10*h.maxTime/time.Second, 1)),
		"max_threads":                                 2,
		"optimize_aggregation_in_order":               1,
		"do_not_merge_across_partitions_select_final": 1,
	}))
}

// sql marks a text as a statement, whose {{db}} is filled in when it is sent:
// between the two the history may have gone over to another database.
func (*History) sql(text string) string { return text }
