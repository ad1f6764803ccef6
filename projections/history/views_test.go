package history_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"hookledger/deploy/embedded/engine/enginetest"
	"hookledger/projections/history"
	schema "hookledger/schemas/clickhouse"
)

// audited is a migrated history with its views, in databases of the test's own,
// and a connection to the views as an auditor has it.
func audited(t testing.TB) (h *history.History, read clickhouse.Conn, audit string) {
	t.Helper()
	service, auditor := db.Databases(t)
	var name string
	must(t, enginetest.Open(t, service).QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&name))
	audit = name + "_audit"
	h = openAudited(t, service, audit)
	must(t, h.Apply(t.Context()))
	must(t, h.ApplyViews(t.Context()))
	return h, enginetest.Open(t, auditor), audit
}

func openAudited(t testing.TB, dsn, audit string) *history.History {
	t.Helper()
	h, err := history.Open(history.Options{DSN: dsn, AuditDatabase: audit})
	must(t, err)
	conn := enginetest.Open(t, dsn)
	t.Cleanup(func() {
		_ = h.Close()
		_ = conn.Exec(context.WithoutCancel(t.Context()), "DROP DATABASE IF EXISTS "+schema.Identifier(audit))
	})
	return h
}

func TestEveryViewAndItsColumnsAreExplained(t *testing.T) {
	_, read, audit := audited(t)
	views, err := schema.Views()
	must(t, err)
	for _, v := range views {
		var comment string
		var columns, bare uint64
		must(t, read.QueryRow(t.Context(), "SELECT comment FROM system.tables WHERE database = ? AND name = ?", audit, v.Name).Scan(&comment))
		must(t, read.QueryRow(t.Context(), "SELECT count(), countIf(comment = '') FROM system.columns WHERE database = ? AND table = ?", audit, v.Name).Scan(&columns, &bare))
		if comment == "" || bare > 0 || (columns == 0) != (arguments[v.Name] != "") { // the engine lists no columns of views with parameters
			t.Errorf("%s: comment %q, %d of %d columns without one", v.Name, comment, bare, columns)
		}
	}
}

// arguments of the views that have parameters.
var arguments = map[string]string{
	"delivery": "(delivery_id = 'del_06h0lie4ha87dg5v7k7vqugfec')", "delivery_attempts": "(delivery_id = 'del_06h0lie4ha87dg5v7k7vqugfec')",
	"webhook_deliveries": "(account = 'acme', webhook_id = 'wh_i1rc1fuiian5d5hv3cad9b4g3g')",
	"webhook_attempts":   "(account = 'acme', webhook_id = 'wh_i1rc1fuiian5d5hv3cad9b4g3g')",
	"event":              "(account = 'acme', event_id = 'evt_1')",
}

func TestAnAuditorReadsEveryView(t *testing.T) {
	_, read, audit := audited(t)
	views, err := schema.Views()
	must(t, err)
	for _, v := range views {
		rows, err := read.Query(t.Context(), "SELECT * FROM "+audit+"."+v.Name+arguments[v.Name])
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		for rows.Next() { // none but about's
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	if err := read.QueryRow(t.Context(), "SELECT count() FROM "+audit+".delivery(delivery_id = 'wh_!')").Scan(new(uint64)); err == nil {
		t.Error("an id that is none was taken for one")
	}
	if err := read.Exec(t.Context(), "DROP VIEW "+audit+".delivery"); err == nil {
		t.Error("an auditor dropped a view")
	}
}

// The views are over the history that applied them last, and only those that
// are others are made again.
func TestViewsAreSwitched(t *testing.T) {
	_, read, audit := audited(t)
	of := func() (name string) {
		must(t, read.QueryRow(t.Context(), "SELECT history_database FROM "+audit+".about").Scan(&name))
		return name
	}
	made := func() (at time.Time) {
		must(t, read.QueryRow(t.Context(), "SELECT max(metadata_modification_time) FROM system.tables WHERE database = ?", audit).Scan(&at))
		return at
	}
	first := of()
	dsn := db.Database(t)
	other := openAudited(t, dsn, audit)
	must(t, other.Apply(t.Context()))
	must(t, other.ApplyViews(t.Context()))
	second := of()
	if second == first {
		t.Errorf("views are over %s still", first)
	}
	conn := enginetest.Open(t, dsn)
	must(t, conn.Exec(t.Context(), "INSERT INTO places (topic, part, next_off) VALUES ('events', 3, 7)"))
	var next uint64
	must(t, read.QueryRow(t.Context(), "SELECT next_offset FROM "+audit+".places").Scan(&next))
	if next != 7 {
		t.Errorf("next_offset %d, want that of the other history", next)
	}
	at := made()
	must(t, other.ApplyViews(t.Context()))
	if !made().Equal(at) {
		t.Error("views that were there were made again")
	}
	must(t, conn.Exec(t.Context(), "DROP VIEW "+audit+".places"))
	must(t, other.ApplyViews(t.Context()))
	must(t, read.QueryRow(t.Context(), "SELECT next_offset FROM "+audit+".places").Scan(&next))
}
