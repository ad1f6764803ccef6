package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hookledger/ledger/ids"
)

// judge holds the history against what was seen from outside.
type judge struct {
	t *testing.T
	w *world
	s *server
	l *load
	// zombies: a process that lost its partitions may have lived on, so what it had
	// in flight can end a round that its successor has ended otherwise.
	zombies bool

	rows     map[string]*deliveryRow // by delivery
	tries    map[string][]*tryRow    // by delivery, in order
	recorded int
	inFlight int
	repeats  int
	lost     int
	invented int
	puzzles  []string // deliveries to explain
}

type deliveryRow struct {
	id, webhook, event, status, end string
	round                           string
}

type tryRow struct {
	id, delivery, webhook, kind, outcome, end, round string
	sent, repeat                                     bool
	number                                           int
	started                                          time.Time
	status                                           int
}

// ask is one SQL statement's rows.
func (j *judge) ask(query string) [][]string {
	j.t.Helper()
	text := j.s.ok(j.t, "", "sql --format TSV", query)
	var rows [][]string
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			rows = append(rows, strings.Split(line, "\t"))
		}
	}
	return rows
}

// text is an id of the history as the API and the receiver know it.
func (j *judge) text(kind ids.Kind, hexed string) string {
	raw, err := hex.DecodeString(hexed)
	if err != nil || len(raw) != ids.Size {
		j.t.Fatalf("the history has the id %q", hexed)
	}
	return ids.ID(raw).Text(kind)
}

func (j *judge) load() {
	j.rows, j.tries, j.recorded = map[string]*deliveryRow{}, map[string][]*tryRow{}, 0
	for _, f := range j.ask("SELECT hex(delivery_id), hex(webhook_id), event_id, toString(status), toString(`end`), toString(round) FROM deliveries FINAL") {
		d := &deliveryRow{j.text(ids.Delivery, f[0]), j.text(ids.Webhook, f[1]), f[2], f[3], f[4], f[5]}
		j.rows[d.id] = d
	}
	seen := map[string]bool{}
	for _, f := range j.ask("SELECT hex(attempt_id), hex(delivery_id), hex(webhook_id), toString(kind), toString(outcome), toString(`end`), toString(round)," +
		" request_sent, maybe_repeat, attempt, toUnixTimestamp64Milli(started_at), status_code FROM attempts FINAL ORDER BY part, off") {
		a := &tryRow{
			id: j.text(ids.Attempt, f[0]), delivery: j.text(ids.Delivery, f[1]), webhook: j.text(ids.Webhook, f[2]),
			kind: f[3], outcome: f[4], end: f[5], round: f[6], sent: f[7] == "true", repeat: f[8] == "true",
		}
		a.number, _ = strconv.Atoi(f[9])
		ms, err := strconv.ParseInt(f[10], 10, 64)
		if err != nil {
			j.t.Fatal(err)
		}
		a.started = time.UnixMilli(ms)
		a.status, _ = strconv.Atoi(f[11])
		if seen[a.id] { // completed by a later process: the same fact again
			continue
		}
		seen[a.id] = true
		if a.kind == "attempt" {
			j.recorded++
		}
		j.tries[a.delivery] = append(j.tries[a.delivery], a)
	}
}

type pair struct{ webhook, event string }

// byPair are the deliveries of each webhook and event: one each.
func (j *judge) byPair() map[pair]*deliveryRow {
	found := map[pair]*deliveryRow{}
	for _, d := range j.rows {
		p := pair{d.webhook, d.event}
		if other := found[p]; other != nil {
			j.fault(d.id, "event %s has two deliveries to webhook %s: %s and %s", d.event, d.webhook, d.id, other.id)
		}
		found[p] = d
	}
	return found
}

func (j *judge) fault(delivery, format string, args ...any) {
	j.t.Helper()
	j.t.Errorf(format, args...)
	if delivery != "" && !slices.Contains(j.puzzles, delivery) {
		j.puzzles = append(j.puzzles, delivery)
	}
}

// await waits until nothing is to be done any more and all that was acknowledged
// is delivered; what is missing after a minute is lost.
func (j *judge) await() {
	began := time.Now()
	for {
		j.load()
		open := 0
		for _, d := range j.rows {
			if d.status == "pending" || d.status == "retrying" {
				open++
			}
		}
		missing := j.missing()
		if open == 0 && len(missing) == 0 {
			j.t.Logf("idle %s after the load stopped", time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Since(began) > 90*time.Second {
			for _, d := range j.rows {
				if d.status == "pending" || d.status == "retrying" {
					j.fault(d.id, "delivery %s is still %s", d.id, d.status)
				}
			}
			for _, m := range missing {
				j.t.Errorf("%s", m)
			}
			j.lost = len(missing)
			return
		}
		pass(j.t, 500*time.Millisecond)
	}
}

// missing are the events that did not reach a webhook that should have them.
func (j *judge) missing() []string {
	var missing []string
	found := j.byPair()
	for _, s := range j.w.subscribers {
		for _, e := range j.w.events {
			if s.should(e) != always {
				continue
			}
			if d := found[pair{s.id, e.id}]; d == nil {
				missing = append(missing, fmt.Sprintf("event %s, published %s, never came to webhook %s, made %s", e.id, e.at.to, s.id, s.made.to))
			} else if d.status != "delivered" {
				missing = append(missing, fmt.Sprintf("delivery %s of event %s to webhook %s is %s", d.id, e.id, s.id, d.status))
			}
		}
	}
	return missing
}

// configuration: every acknowledged change holds.
func (j *judge) configuration() {
	known := map[string]bool{}
	for _, s := range j.w.subscribers {
		known[s.id] = true
		a := j.l.settled("look", "GET", "/webhooks/"+s.id, "", nil).a
		if !s.gone.from.IsZero() {
			if a.status != 404 {
				j.t.Errorf("deleted webhook %s answers %s", s.id, a.body)
			}
			continue
		}
		if a.status != 200 {
			j.t.Errorf("webhook %s answers %s", s.id, a.body)
			continue
		}
		last := s.wants[len(s.wants)-1]
		if a.str("name") != s.name || a.str("status") != "active" || !bytes.Contains(a.body, []byte(`"metadata":`+s.metadata)) ||
			len(a.value("events").([]any)) != len(last.events) {
			j.t.Errorf("webhook %s is %s, want name %s, metadata %s, events %v", s.id, a.body, s.name, s.metadata, last.events)
		}
		for i, name := range last.events {
			if a.str(fmt.Sprintf("events.%d", i)) != name {
				j.t.Errorf("webhook %s hears %s, want %v", s.id, a.body, last.events)
			}
		}
	}
	for i := range j.l.settled("look", "GET", "/webhooks", "", nil).a.list() {
		if id := j.l.settled("look", "GET", "/webhooks", "", nil).a.str(fmt.Sprintf("%d.webhook_id", i)); !known[id] {
			j.t.Errorf("webhook %s was made and nobody was told", id)
		}
	}
}

// requests: each that was seen is recorded or was in flight at a kill and
// repeated; each that is recorded as sent was seen; signatures and bytes hold.
func (j *judge) requests() {
	subscribers := map[string]*subscriber{}
	for _, s := range j.w.subscribers {
		subscribers[s.id] = s
	}
	tries := map[string]*tryRow{}
	for _, list := range j.tries {
		for _, a := range list {
			tries[a.id] = a
			if a.kind == "attempt" && a.repeat {
				j.repeats++
			}
		}
	}
	seen := map[string]bool{}
	bodies := map[string][]byte{}
	for _, q := range j.w.requests {
		if seen[q.attempt] {
			j.fault(q.delivery, "attempt %s came twice", q.attempt)
		}
		seen[q.attempt] = true
		if first, ok := bodies[q.delivery]; ok && !bytes.Equal(first, q.Body()) {
			j.fault(q.delivery, "delivery %s sent other bytes:\n%s\nthan before:\n%s", q.delivery, q.Body(), first)
		}
		bodies[q.delivery] = q.Body()
		if s := subscribers[q.webhook]; s == nil {
			j.fault(q.delivery, "a request of webhook %s, which nobody made", q.webhook)
		} else if err := s.signed(q.Request); err != nil {
			j.fault(q.delivery, "attempt %s: %v", q.attempt, err)
		}
		if a := tries[q.attempt]; a != nil {
			if a.delivery != q.delivery || a.kind != "attempt" || !a.sent || q.answer != 0 && a.status != 0 && a.status != q.answer {
				j.fault(q.delivery, "attempt %s was answered %d, and is recorded as %+v", q.attempt, q.answer, *a)
			}
			continue
		}
		j.unrecorded(q)
	}
	for id, a := range tries {
		if a.kind == "attempt" && a.sent && !seen[id] {
			j.invented++
			j.fault(a.delivery, "attempt %s of delivery %s is recorded as sent, and the receiver never saw it: %+v", id, a.delivery, *a)
		}
	}
}

// unrecorded judges a request that no attempt tells of.
func (j *judge) unrecorded(q *got) {
	j.inFlight++
	killed := slices.ContainsFunc(j.w.kills, func(at time.Time) bool {
		return q.Received.Before(at.Add(crashGrace)) && q.Received.After(at.Add(-crashGrace))
	})
	if !killed {
		j.fault(q.delivery, "attempt %s of delivery %s came at %s, when nothing was killed, and is not in the history", q.attempt, q.delivery, q.Received)
		return
	}
	d := j.rows[q.delivery]
	if d == nil {
		j.fault(q.delivery, "delivery %s was tried and is not in the history", q.delivery)
		return
	}
	marked := slices.ContainsFunc(j.tries[q.delivery], func(a *tryRow) bool {
		return a.repeat && !a.started.Before(q.Received.Add(-crashGrace)) && a.id > q.attempt
	})
	if !marked && d.end != "cancelled" {
		j.fault(q.delivery, "attempt %s of delivery %s was in flight at a kill and no attempt after it is marked as its repeat", q.attempt, q.delivery)
	}
}

// deliveries: exactly those that should be, each round with one end, and what is
// called delivered was answered so.
func (j *judge) deliveries() {
	subscribers, events := map[string]*subscriber{}, map[string]*published{}
	for _, s := range j.w.subscribers {
		subscribers[s.id] = s
	}
	for _, e := range j.w.events {
		events[e.id] = e
	}
	taken := map[string]int{} // requests that were answered 200, by delivery
	for _, q := range j.w.requests {
		if q.answer == 200 {
			taken[q.delivery]++
		}
	}
	for id, d := range j.rows {
		s, e := subscribers[d.webhook], events[d.event]
		switch {
		case s == nil || e == nil:
			j.fault(id, "delivery %s is of event %s and webhook %s: nobody published or made that", id, d.event, d.webhook)
			continue
		case s.should(e) == never:
			j.invented++
			j.fault(id, "delivery %s of event %+v to webhook %+v, which never wanted it", id, *e, *s)
		case d.status == "delivered" && taken[id] == 0:
			j.fault(id, "delivery %s is delivered, and the receiver never took it", id)
		case d.status == "failed" && (d.end != "cancelled" || s.gone.from.IsZero()):
			j.fault(id, "delivery %s is %s, %s", id, d.status, d.end)
		}
		ends, recorded, delivered := map[string][]*tryRow{}, map[string]bool{}, 0
		for _, a := range j.tries[id] {
			recorded[a.id] = true
			if a.outcome == "delivered" {
				delivered++
			}
			if a.end != "none" {
				ends[a.round] = append(ends[a.round], a)
			}
		}
		for round, all := range ends {
			j.oneEnd(d, round, all)
		}
		if len(ends) != 1 {
			j.fault(id, "delivery %s has ended in %d rounds, want 1", id, len(ends))
		}
		if delivered > 1 {
			repeats := 0
			for _, a := range j.tries[id] {
				if a.repeat {
					repeats++
				}
			}
			if repeats == 0 {
				j.fault(id, "delivery %s was delivered %d times, and none of it is marked as a repeat", id, delivered)
			}
		}
	}
}

// oneEnd: a round has one end, but for what a zombie had in flight: then each
// epoch has one, and the round's state is the best of them.
func (j *judge) oneEnd(d *deliveryRow, round string, ends []*tryRow) {
	if len(ends) == 1 {
		return
	}
	rank := []string{"cancelled", "given_up", "delivered"}
	epochs, best := map[string]bool{}, ""
	for _, a := range ends {
		id, err := ids.Parse(ids.Attempt, a.id)
		if err != nil {
			j.t.Fatal(err)
		}
		epochs[string(id[:8])] = true // partition and epoch
		if slices.Index(rank, a.end) > slices.Index(rank, best) {
			best = a.end
		}
	}
	switch {
	case !j.zombies || len(epochs) != len(ends):
		j.fault(d.id, "round %s of delivery %s has %d ends", round, d.id, len(ends))
	case d.round == round && d.end != best:
		j.fault(d.id, "round %s of delivery %s ended %s, and its state says %s", round, d.id, best, d.end)
	}
}

// pauses: nothing began after a pause or a deletion was answered, and nothing
// came that could not have been in flight then.
func (j *judge) pauses() {
	late := 500 * time.Millisecond // between the barrier and the try's own clock
	if j.zombies {
		late *= 3 // three processes on the machine of one
	}
	for _, s := range j.w.subscribers {
		stops := slices.Clone(s.pauses)
		if !s.gone.from.IsZero() {
			stops = append(stops, pause{from: s.gone})
		}
		for _, q := range j.w.requests {
			for _, p := range stops {
				if q.webhook == s.id && q.Received.After(p.from.to.Add(crashGrace)) && (p.until.from.IsZero() || q.Received.Before(p.until.from)) {
					j.fault(q.delivery, "attempt %s came at %s, while webhook %s was paused or deleted since %s", q.attempt, q.Received, s.id, p.from.to)
				}
			}
		}
		for _, list := range j.tries {
			for _, a := range list {
				if a.webhook != s.id || a.kind != "attempt" {
					continue
				}
				for _, p := range stops {
					if a.started.After(p.from.to.Add(late)) && (p.until.from.IsZero() || a.started.Before(p.until.from)) {
						j.fault(a.delivery, "attempt %s began at %s, while webhook %s was paused or deleted since %s", a.id, a.started, s.id, p.from.to)
					}
				}
			}
		}
	}
}

// explain prints what there is to know of the first deliveries that are wrong.
func (j *judge) explain() {
	for _, id := range j.puzzles[:min(len(j.puzzles), 5)] {
		var b strings.Builder
		fmt.Fprintf(&b, "delivery %s:\n", id)
		if d := j.rows[id]; d != nil {
			fmt.Fprintf(&b, "  state %+v\n", *d)
		}
		for _, a := range j.tries[id] {
			fmt.Fprintf(&b, "  recorded %+v\n", *a)
		}
		for _, q := range j.w.requests {
			if q.delivery == id {
				fmt.Fprintf(&b, "  seen %s attempt %s answered %d\n", q.Received.Format("15:04:05.000"), q.attempt, q.answer)
			}
		}
		for _, k := range j.w.kills {
			fmt.Fprintf(&b, "  kill %s\n", k.Format("15:04:05.000"))
		}
		logs, _ := filepath.Glob(j.s.dir + ".*.err")
		for _, file := range logs {
			text, _ := os.ReadFile(file)
			for line := range bytes.SplitSeq(text, []byte("\n")) {
				if bytes.Contains(line, []byte(id)) {
					fmt.Fprintf(&b, "  %s: %s\n", filepath.Base(file), line)
				}
			}
		}
		j.t.Log(b.String())
	}
}
