package historian_test

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"hookledger/consumers/verifier"
	"hookledger/deploy/embedded/engine/enginetest"
	"hookledger/ledger"
	"hookledger/ledger/ids"
)

// verify compares the world's history with its log.
func (w *world) verify(change ...func(*verifier.Options)) *verifier.Report {
	w.Helper()
	live, _, err := w.h.Live(w.Context())
	must(w, err)
	o := verifier.Options{Log: w.log, History: live, List: 1000, Settle: 2 * time.Second}
	for _, c := range change {
		c(&o)
	}
	v, err := verifier.New(o)
	must(w, err)
	report, err := v.Run(w.Context())
	must(w, err)
	return report
}

// equal fails the test unless the report says so, with its differences.
func (w *world) equal(r *verifier.Report) {
	w.Helper()
	if !r.Equal() {
		w.Errorf("%d differences:\n%s", r.Different(), strings.Join(said(r, true), "\n"))
	}
}

// said is the report's differences as "table kind row", in order.
func said(r *verifier.Report, detail bool) []string {
	var all []string
	for _, t := range r.Tables {
		for _, d := range t.Differences {
			line := fmt.Sprintf("%s %s %s", t.Name, d.Kind, d.Row)
			if detail {
				line += ": " + d.Detail
			}
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

func (w *world) table(r *verifier.Report, name string) verifier.Table {
	w.Helper()
	for _, t := range r.Tables {
		if t.Name == name {
			return t
		}
	}
	w.Fatalf("no table %s in the report", name)
	return verifier.Table{}
}

// undecodable and odd records, dead letters about events, tests, an event with
// every byte, deliveries that wait in lanes.
func (w *world) oddities() {
	w.Helper()
	w.append(
		ledger.Record{Topic: ledger.Attempts, Partition: 1, Value: []byte("no fact")},
		ledger.Record{Topic: ledger.Events, Partition: 1, Key: []byte("k"), Value: []byte("a,b:c\x00\xff\n'\\")},
	)
	at := w.append(ledger.Record{Topic: ledger.Events, Partition: 0, Value: []byte("for the dead letters")})[0]
	r, err := w.log.ReadAt(w.Context(), ledger.Events, 0, at.Offset)
	must(w, err)
	must(w, w.log.DeadLetter(w.Context(), r, fmt.Errorf("the router says so")))
}

func TestVerifyFindsNothing(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	w.traffic(1, 25)
	w.oddities()
	w.settled()
	report := w.verify()
	w.equal(report)
	for name, rows := range w.dump() {
		if got := w.table(report, name).Compared; got != uint64(len(rows)) && name != "attempts_hourly" {
			t.Errorf("%s: %d compared, there are %d", name, got, len(rows))
		}
	}
	// In many shares, the same.
	w.equal(w.verify(func(o *verifier.Options) { o.Memory = 2000 }))

	// Beside traffic, whatever is under way.
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 4 {
			w.traffic(uint64(i+2), 15)
		}
	}()
	for range 2 {
		w.equal(w.verify(func(o *verifier.Options) { o.Settle = 10 * time.Second }))
	}
	<-done
}

// What retention took is counted, and not called a difference.
func TestVerifyRespectsRetention(t *testing.T) {
	w := newWorld(t)
	w.run(w.h)
	w.traffic(1, 40)
	w.settled()
	must(t, w.log.Trim(t.Context(), ledger.Events, 0, 5))
	must(t, w.log.Trim(t.Context(), ledger.Attempts, 1, 20))
	report := w.verify()
	w.equal(report)
	if e, a := w.table(report, "events").Unchecked, w.table(report, "attempts").Unchecked; e != 5 || a != 20 {
		t.Errorf("unchecked: %d events and %d attempts, want 5 and 20", e, a)
	}
	if w.table(report, "deliveries").Unchecked == 0 {
		t.Error("no delivery is unchecked, though facts were trimmed")
	}
}

func TestVerifyWithoutAHistorian(t *testing.T) {
	w := newWorld(t)
	must(t, w.h.Apply(t.Context()))
	w.traffic(1, 1)
	v, err := verifier.New(verifier.Options{Log: w.log, History: w.h.At(w.h.Home()), Wait: 100 * time.Millisecond})
	must(t, err)
	if _, err := v.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "behind the log") {
		t.Errorf("Run: %v", err)
	}
}

// row reads one value of the history.
func (w *world) row(sql string, into ...any) {
	w.Helper()
	must(w, enginetest.Open(w, w.dsn).QueryRow(w.Context(), sql).Scan(into...))
}

// tamper is one change by hand, and what is to be said about it.
type tamper struct {
	name, sql string
	want      string // table kind row
	detail    string // part of what is said beside
}

const sync = " SETTINGS mutations_sync = 2"

// Every kind of fault in every table with a row for each record is found and
// named, and nothing else is.
func TestVerifyNamesEveryFault(t *testing.T) {
	w := newWorld(t)
	stop := w.run(w.h)
	w.traffic(1, 40)
	w.oddities()
	w.settled()
	must(t, stop())
	w.equal(w.verify())
	var tampers []tamper
	for table, c := range map[string]struct {
		topic          ledger.Topic
		alter, altered string
	}{
		"attempts":       {ledger.Attempts, "status_code = 299", "status_code is \"299\""},
		"events":         {ledger.Events, "data = concat(data, ' ')", "data is"},
		"config_changes": {ledger.Config, "actor_id = 'somebody else'", "actor_id is \"somebody else\""},
	} {
		// Config has all its records in one partition: one account.
		part := w.log.Partition(ledger.Config, []byte("acme"))
		if c.topic != ledger.Config {
			part = 1
		}
		end := w.ends(c.topic)[part]
		if end < 6 {
			t.Fatalf("%s/%d has only %d records", c.topic, part, end)
		}
		at := func(off int64) string { return fmt.Sprintf("part = %d AND off = %d", part, off) }
		named := func(kind verifier.Kind, off int64) string {
			return fmt.Sprintf("%s %s %s/%d/%d", table, kind, c.topic, part, off)
		}
		tampers = append(tampers,
			tamper{"remove", fmt.Sprintf("ALTER TABLE %s DELETE WHERE %s%s", table, at(1), sync), named(verifier.Missing, 1), ""},
			tamper{"alter", fmt.Sprintf("ALTER TABLE %s UPDATE %s WHERE %s%s", table, c.alter, at(2), sync), named(verifier.Differs, 2), c.altered},
			tamper{"alter the hash", fmt.Sprintf("ALTER TABLE %s UPDATE record_hash = record_hash + 1 WHERE %s%s", table, at(3), sync), named(verifier.Differs, 3), "record_hash is"},
			tamper{"double under another hash", fmt.Sprintf("INSERT INTO %s SELECT * REPLACE ('other' AS account, record_hash + 1 AS record_hash) FROM %s FINAL WHERE %s", table, table, at(4)), named(verifier.Doubled, 4), "account is \"other\""},
			tamper{"double at another offset", fmt.Sprintf("INSERT INTO %s SELECT * REPLACE (off + 1000000 AS off) FROM (SELECT * FROM %s FINAL WHERE %s)", table, table, at(5)), named(verifier.Surplus, 1000005), "ends at"},
			tamper{"invent", fmt.Sprintf("INSERT INTO %s (account, part, off) VALUES ('acme', %d, %d)", table, part, end), named(verifier.Surplus, end), "ends at"},
			tamper{"invent a partition", fmt.Sprintf("INSERT INTO %s (account, part, off) VALUES ('acme', 9, 1)", table), fmt.Sprintf("%s %s %s, partition 2 and above", table, verifier.Surplus, c.topic), "1 rows"},
		)
	}
	tampers = append(tampers, w.tamperedStates()...)
	for _, c := range tampers {
		w.exec(c.sql)
	}
	report := w.verify()
	var want, got []string
	for _, c := range tampers {
		want = append(want, c.want)
	}
	slices.Sort(want)
	for _, line := range said(report, false) {
		if !strings.HasPrefix(line, "attempts_hourly ") { // they follow from the attempts that were changed
			got = append(got, line)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	detailed := said(report, true)
	for _, c := range tampers {
		i, ok := slices.BinarySearchFunc(detailed, c.want+":", func(line, want string) int { return cmp.Compare(line, want) })
		if !ok && (i == len(detailed) || !strings.HasPrefix(detailed[i], c.want+":") || !strings.Contains(detailed[i], c.detail)) {
			t.Errorf("%s: want %q with %q", c.name, c.want, c.detail)
		}
	}
}

// tamperedStates are faults in the states of four deliveries.
func (w *world) tamperedStates() []tamper {
	w.Helper()
	var raw []string
	w.row("SELECT groupArray(hex(delivery_id)) FROM (SELECT delivery_id FROM deliveries FINAL WHERE is_fact ORDER BY delivery_id LIMIT 3)", &raw)
	text := func(n int) string {
		b, err := hex.DecodeString(raw[n])
		must(w, err)
		return ids.ID(b).Text(ids.Delivery)
	}
	at := func(n int) string { return "delivery_id = unhex('" + raw[n] + "')" }
	invented := ids.ForDelivery(time.Now().UnixMilli(), 0, 99, id(3, 'w'))
	return []tamper{
		{"remove a state", "ALTER TABLE deliveries DELETE WHERE " + at(0) + sync, "deliveries missing " + text(0), "attempts"},
		{"alter a state", "ALTER TABLE deliveries UPDATE body_size = body_size + 1 WHERE " + at(1) + sync, "deliveries differs " + text(1), "body_size is \"11\", the log says \"10\""},
		{"double a state", "INSERT INTO deliveries SELECT * EXCEPT version REPLACE ('other' AS account) FROM deliveries FINAL WHERE " + at(2), "deliveries doubled " + text(2), "account"},
		{
			"invent a state", fmt.Sprintf("INSERT INTO deliveries (account, webhook_id, delivery_id, status, created_at, is_fact, part, off) VALUES ('acme', unhex('%x'), unhex('%x'), 'delivered', fromUnixTimestamp64Milli(%d), true, 0, 1)",
				idBytes(3), invented[:], invented.Time().UnixMilli()), "deliveries surplus " + invented.Text(ids.Delivery), "no record of the log",
		},
	}
}

func (w *world) ends(t ledger.Topic) map[int32]int64 {
	w.Helper()
	ends, err := w.log.Ends(w.Context(), t)
	must(w, err)
	return ends
}

// The sums by hour, too.
func TestVerifyAddsTheHoursUp(t *testing.T) {
	w := newWorld(t)
	stop := w.run(w.h)
	w.traffic(1, 40)
	w.settled()
	must(t, stop())
	w.equal(w.verify())
	var keys []string
	w.row("SELECT groupArray(k) FROM (SELECT concat('webhook_id = unhex(''', hex(webhook_id), ''') AND outcome = ''', toString(outcome), ''' AND hour = ', toString(toUnixTimestamp(hour))) AS k "+
		"FROM attempts_hourly FINAL ORDER BY webhook_id, outcome, hour LIMIT 3)", &keys)
	for _, c := range []struct{ sql, want string }{
		{"ALTER TABLE attempts_hourly DELETE WHERE " + keys[0] + sync, "missing"},
		{"ALTER TABLE attempts_hourly UPDATE n = n + 1 WHERE " + keys[1] + sync, "differs"},
		{"INSERT INTO attempts_hourly SELECT * REPLACE ('other' AS account) FROM attempts_hourly FINAL WHERE " + keys[2], "surplus"},
	} {
		w.exec(c.sql)
		var kinds []string
		report := w.verify()
		for _, d := range w.table(report, "attempts_hourly").Differences {
			kinds = append(kinds, string(d.Kind))
		}
		if report.Different() != uint64(len(kinds)) || !slices.Contains(kinds, c.want) {
			t.Errorf("after %.60s: %v", c.sql, said(report, true))
		}
	}
}
