package historian_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"hookledger/consumers/historian"
	"hookledger/deploy/embedded/engine/enginetest"
	"hookledger/ledger"
	"hookledger/projections/history"
	schema "hookledger/schemas/clickhouse"
)

// answers are those that people get from the history, as bytes: figures, the
// audit trail, and every view for auditors.
func (w *world) answers(audit string, now time.Time) map[string]string {
	w.Helper()
	all := make(map[string]string)
	note := func(name string, v any, err error) {
		must(w, err)
		text, err := json.Marshal(v)
		must(w, err)
		all[name] = string(text)
	}
	for _, group := range []history.GroupBy{history.NoGroups, history.ByWebhook, history.ByEvent} {
		edges, err := history.Edges(now.Add(-4*time.Hour), now, history.Hour, time.UTC, 10)
		must(w, err)
		q := history.Question{Account: "acme", Edges: edges, GroupBy: group, Groups: 5}
		d, err := w.h.DeliveryAnalytics(w.Context(), q)
		note("deliveries by "+string(group), d, err)
		a, err := w.h.AttemptAnalytics(w.Context(), q)
		note("attempts by "+string(group), a, err)
	}
	changes, next, err := w.h.Changes(w.Context(), "acme", history.ChangePage{Limit: 10})
	note("changes", []any{changes, next}, err)
	conn := enginetest.Open(w, w.dsn)
	views, err := schema.Views()
	must(w, err)
	for _, v := range views {
		if slices.Contains([]string{"about", "places", "delivery", "delivery_attempts", "event", "webhook_deliveries", "webhook_attempts"}, v.Name) {
			continue // these say when, or are the others under a condition
		}
		var rows []string
		must(w, conn.QueryRow(w.Context(), "SELECT arraySort(groupArray(toString(tuple(*)))) FROM "+audit+"."+v.Name).Scan(&rows))
		if len(rows) == 0 {
			w.Errorf("no rows in the view %s", v.Name)
		}
		note("view "+v.Name, rows, nil)
	}
	return all
}

// The log read into the tables a second time, and read into empty tables in other
// batches, gives the same answers byte by byte.
func TestAnswersAreTheSameHoweverOftenTheLogIsRead(t *testing.T) {
	w := newWorld(t)
	var name string
	must(t, enginetest.Open(t, w.dsn).QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&name))
	audit := name + "_audit"
	h, err := history.Open(history.Options{DSN: w.dsn, AuditDatabase: audit})
	must(t, err)
	w.h = h
	t.Cleanup(func() {
		_ = h.Close()
		w.execAfter("DROP DATABASE IF EXISTS " + audit)
	})
	w.traffic(1, 40)
	w.append(ledger.Record{Topic: ledger.Attempts, Partition: 1, Value: []byte("no fact")})
	until := time.Now().Truncate(time.Hour).Add(time.Hour)
	read := func(change ...func(*historian.Options)) map[string]string {
		stop := w.run(w.h, change...)
		w.settled()
		must(t, stop())
		must(t, w.h.ApplyViews(t.Context()))
		return w.answers(audit, until)
	}
	want := read()
	w.exec("TRUNCATE TABLE places")
	if diff := gocmp.Diff(want, read()); diff != "" {
		t.Errorf("read twice into the tables (-once +twice):\n%s", diff)
	}
	for _, table := range []string{"places", "attempts", "deliveries", "events", "config_changes", "attempts_hourly"} {
		w.exec("TRUNCATE TABLE " + table)
	}
	if diff := gocmp.Diff(want, read(func(o *historian.Options) { o.MaxRows = 50 })); diff != "" {
		t.Errorf("read into empty tables (-before +after):\n%s", diff)
	}
}
