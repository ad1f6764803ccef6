package history_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/event"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// pending makes the state row of a request.
func pending(hook ids.ID, created time.Time, source *facts.Source) history.DeliveryRow {
	sub := subject("acme", hook, created, source)
	return history.DeliveryRow{
		Account: "acme", Webhook: hook, Delivery: ids.ID(sub.GetDeliveryId()), EventID: "evt_1", EventType: "export.ready",
		Status: history.Pending, CreatedMs: created.UnixMilli(), ChangedMs: created.UnixMilli(),
		SourcePart: uint16(source.GetPartition()), SourceOff: uint64(source.GetOffset()), MetadataOffset: -1,
	}
}

// Pages over hours, days and weeks follow each other, though rows come in between.
func TestPagingUnderInserts(t *testing.T) {
	h := open(t)
	r := rand.New(rand.NewPCG(5, 6))
	hook := webhook(3)
	var batch history.Batch
	var want []ids.ID
	row := func(i int, age time.Duration) history.DeliveryRow {
		d := pending(hook, noon.Add(-age), &facts.Source{Offset: int64(i)})
		if i%3 == 0 {
			d.Status = history.Failed
		}
		return d
	}
	for i := range 150 {
		age := []time.Duration{time.Hour, 20 * time.Hour, 5 * 24 * time.Hour, 28 * 24 * time.Hour}[i%4]
		d := row(i, time.Duration(r.Int64N(int64(age))))
		batch.Deliveries = append(batch.Deliveries, d, pending(webhook(4), noon, &facts.Source{Offset: int64(i)}))
		want = append(want, d.Delivery)
	}
	insert(t, h, &batch)
	newestFirst := func(a, b ids.ID) int { return bytes.Compare(b[:], a[:]) }
	slices.SortFunc(want, newestFirst)
	for _, status := range []history.Status{0, history.Failed, history.Delivered} {
		var expect []ids.ID
		for _, id := range want {
			for _, d := range batch.Deliveries {
				if d.Delivery == id && (status == 0 || d.Status == status) {
					expect = append(expect, id)
				}
			}
		}
		var got []ids.ID
		page := history.Page{Limit: 7, Status: status}
		for n := 0; ; n++ {
			list, next, err := h.Deliveries(t.Context(), "acme", hook, page)
			must(t, err)
			for _, d := range list {
				got = append(got, d.ID)
			}
			if page.Cursor = next; next.IsZero() {
				break
			}
			if n < 5 { // newer than all
				d := row(3000+n, -time.Duration(n+1)*time.Second)
				d.Status = history.Failed
				insert(t, h, &history.Batch{Deliveries: []history.DeliveryRow{d}})
				defer func() { want = append(want, d.Delivery) }()
			}
		}
		if status == 0 {
			if !slices.Equal(got, expect) {
				t.Errorf("all: got %d deliveries, want %d in order", len(got), len(expect))
			}
			continue
		}
		for _, id := range expect {
			if !slices.Contains(got, id) {
				t.Errorf("status %s: %s was skipped", status, id.Text(ids.Delivery))
			}
		}
		if !slices.IsSortedFunc(got, newestFirst) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("status %s: out of order or repeated", status)
		}
	}
	if _, err := h.Delivery(t.Context(), "another", want[0]); !errors.Is(err, history.ErrNotFound) {
		t.Errorf("another account's delivery: %v", err)
	}
	list, _, err := h.Deliveries(t.Context(), "another", hook, history.Page{})
	if must(t, err); len(list) > 0 {
		t.Errorf("another account sees %d deliveries", len(list))
	}
}

// eventRecord is an event as it lies in the log.
func eventRecord(e *event.Event, partition int32, offset int64, at time.Time) *kgo.Record {
	return &kgo.Record{Key: e.Key(), Value: e.Data, Headers: e.Headers(), Partition: partition, Offset: offset, Timestamp: at}
}

func TestEventAndItsRepeats(t *testing.T) {
	h := open(t)
	e := func(id, key, data string) *event.Event {
		return &event.Event{ID: id, Account: "acme", Type: "export.ready", OrderingKey: key, CreatedAt: noon, Data: []byte(data)}
	}
	var b history.Batch
	put := func(e *event.Event, offset int64, at time.Time) history.EventRow {
		row := history.FoldEvent(eventRecord(e, 2, offset, at))
		b.Events = append(b.Events, row)
		return row
	}
	start := noon.Add(-72 * time.Hour)
	put(e("order '7'", "", `{"n":1}`), 10, start)
	put(e("order '7'", "", `{"n":1}`), 11, start.Add(time.Minute))  // repeat
	put(e("order '7'", "k", `{"n":2}`), 12, start.Add(time.Hour))   // another identity
	put(e("order '7'", "", `{"n":1}`), 20, start.Add(23*time.Hour)) // repeat
	again := put(e("order '7'", "", `{"n":3}`), 30, start.Add(49*time.Hour))
	put(e("order '7'", "", `{"n":3}`), 31, start.Add(50*time.Hour)) // repeat of the second
	for range 2 {
		fresh := e("evt_fresh", "", `{}`)
		fresh.Fresh = true
		put(fresh, int64(40+len(b.Events)), noon)
	}
	// The router's dead letter of a repeat with other content.
	other := eventRecord(e("order '7'", "", `{"n":4}`), 2, 32, start.Add(51*time.Hour))
	b.Events = append(b.Events, history.FoldEvent(other))
	insert(t, h, &b)
	letter := &kgo.Record{Key: other.Key, Value: other.Value, Partition: 0, Offset: 5, Timestamp: noon, Headers: append([]kgo.RecordHeader{
		{Key: ledger.DeadLetterTopic, Value: []byte("events")},
		{Key: ledger.DeadLetterPartition, Value: []byte("2")},
		{Key: ledger.DeadLetterOffset, Value: []byte("32")},
		{Key: ledger.DeadLetterTime, Value: []byte("1795060800000")},
		{Key: ledger.DeadLetterReason, Value: []byte("another content")},
	}, other.Headers...)}
	letter.Headers[3].Value = []byte(time.Duration(other.Timestamp.UnixMilli()).String())
	if _, err := history.FoldDeadLetter(letter); err == nil {
		t.Error("a dead letter with a strange time was folded")
	}
	letter.Headers[3].Value = []byte(strconv.FormatInt(other.Timestamp.UnixMilli(), 10))
	row, err := history.FoldDeadLetter(letter)
	must(t, err)
	if row.Status != history.EventRepeat || row.Reason != "another content" || row.RecordHash != history.RecordHash(other) {
		t.Errorf("dead letter: %+v", row)
	}
	insert(t, h, &history.Batch{Events: []history.EventRow{*row}})

	got, err := h.Event(t.Context(), "acme", "order '7'", nil)
	must(t, err)
	if got.Offset != 30 || string(got.Data) != `{"n":3}` || got.Repeats != 2 || !got.AcceptedAt.Equal(time.UnixMilli(again.RecordMs)) {
		t.Errorf("newest: %+v", got)
	}
	key := "k"
	if got, err = h.Event(t.Context(), "acme", "order '7'", &key); err != nil || got.Offset != 12 {
		t.Errorf("by ordering key: %+v %v", got, err)
	}
	if got, err = h.Event(t.Context(), "acme", "evt_fresh", nil); err != nil || got.Repeats != 0 {
		t.Errorf("fresh: %+v %v", got, err)
	}
	for _, c := range [][2]string{{"acme", "order"}, {"other", "order '7'"}} {
		if _, err := h.Event(t.Context(), c[0], c[1], nil); !errors.Is(err, history.ErrNotFound) {
			t.Errorf("%v: %v, want not found", c, err)
		}
	}
}

func TestInvalidEventIsARow(t *testing.T) {
	row := history.FoldEvent(&kgo.Record{
		Key: []byte("x"), Value: []byte("no json"), Offset: 4, Timestamp: noon,
		Headers: []kgo.RecordHeader{{Key: "ce_accountid", Value: []byte("acme")}, {Key: "ce_id", Value: []byte{0xff}}},
	})
	if row.Status != history.EventInvalid || row.Reason == "" || row.Account != "acme" || row.EventID != "" || string(row.Data) != "no json" {
		t.Errorf("%+v", row)
	}
}

func TestPayloadIsWhatWasSent(t *testing.T) {
	h := open(t)
	hook := webhook(9)
	created := noon.Add(-40 * time.Hour)
	e := &event.Event{
		ID: "evt_p", Account: "acme", Type: "export.ready", OrderingKey: "o", CreatedAt: created.Add(-time.Hour),
		Data: []byte("{\"a\": 1.0,\t\"b\":\"\\u00e9é\"}"),
	}
	metadata := []byte(`{"team":  "x"}`)
	body := event.Compose(e, metadata)
	sum := sha256.Sum256(body)
	fact := &facts.ConfigFact{
		FactId: make([]byte, 16), Rules: 1, Account: "acme", Change: &facts.ConfigFact_WebhookCreated{WebhookCreated: &facts.WebhookCreated{
			Webhook: &facts.Webhook{WebhookId: hook[:], Metadata: metadata, Version: 1}, Secret: &facts.Sealed{KeyId: "k", Box: []byte("sealed-box")},
		}},
	}
	d := pending(hook, created, &facts.Source{Partition: 1, Offset: 77})
	d.EventID, d.MetadataOffset, d.BodyHash, d.BodySize = "evt_p", 5, sum, uint32(len(body))
	without := pending(webhook(10), created, &facts.Source{Partition: 1, Offset: 77})
	without.EventID, without.BodyHash = "evt_p", sha256.Sum256(event.Compose(e, nil))
	expired := pending(hook, created, &facts.Source{Partition: 1, Offset: 78})
	damaged := pending(webhook(11), created, &facts.Source{Partition: 1, Offset: 77})
	damaged.EventID = "evt_p"
	change := history.FoldConfig(&kgo.Record{Offset: 5, Partition: 3, Timestamp: noon}, fact, subscriptions.Applied)
	if bytes.Contains([]byte(change.State), []byte("sealed")) || change.SubjectID != hook.Text(ids.Webhook) {
		t.Errorf("audit row: %+v", change)
	}
	insert(t, h, &history.Batch{
		Events:     []history.EventRow{history.FoldEvent(eventRecord(e, 1, 77, created))},
		Changes:    []history.ConfigRow{change},
		Deliveries: []history.DeliveryRow{d, without, expired, damaged},
	})
	for _, c := range []struct {
		row  history.DeliveryRow
		want []byte
		err  error
	}{{d, body, nil}, {without, event.Compose(e, nil), nil}, {expired, nil, history.ErrPayloadExpired}, {damaged, nil, history.ErrPayloadDamaged}} {
		found, err := h.Delivery(t.Context(), "acme", c.row.Delivery)
		must(t, err)
		got, err := h.Payload(t.Context(), found)
		if !errors.Is(err, c.err) || c.err == nil && !bytes.Equal(got, c.want) {
			t.Errorf("payload %q, %v; want %q, %v", got, err, c.want, c.err)
		}
	}
	found, err := h.Event(t.Context(), "acme", "evt_p", nil)
	must(t, err)
	var all []ids.ID
	page := history.Page{Limit: 2}
	for {
		list, next, err := h.EventDeliveries(t.Context(), found, page)
		must(t, err)
		for _, d := range list {
			all = append(all, d.ID)
		}
		if page.Cursor = next; next.IsZero() {
			break
		}
	}
	if len(all) != 3 || !slices.IsSortedFunc(all, func(a, b ids.ID) int { return bytes.Compare(a[:], b[:]) }) {
		t.Errorf("deliveries of the event: %v", all)
	}
}

// Stats agree with counting in Go, after hours were recomputed in any order, several times.
func TestStats(t *testing.T) {
	h := open(t)
	r := rand.New(rand.NewPCG(7, 8))
	type try struct {
		at      time.Time
		success bool
	}
	tries := make(map[ids.ID][]try)
	var b history.Batch
	hours := make(map[time.Time]bool)
	offset := int64(0)
	for i := range 400 {
		hook := webhook(i % 6)
		at := noon.Add(-time.Duration(r.Int64N(int64(5 * time.Hour)))).Truncate(time.Millisecond)
		success := i%6 != 0 && r.IntN(4) == 0
		source := &facts.Source{Offset: int64(i)}
		id := attemptID(0, 1, uint64(i))
		f := &facts.AttemptFact{
			FactId: id[:], Kind: facts.FactKind_FACT_KIND_ATTEMPT, Subject: subject("acme", hook, at, source), Content: content(source),
			Attempt: 1, StartedMs: at.UnixMilli(), DurationUs: uint32(r.Int64N(1 << 32)), Outcome: facts.Outcome_OUTCOME_TIMEOUT,
		}
		if success {
			f.Outcome, f.End = facts.Outcome_OUTCOME_DELIVERED, facts.End_END_DELIVERED
		}
		if i%50 == 49 {
			f.Kind = facts.FactKind_FACT_KIND_TEST
		} else {
			tries[hook] = append(tries[hook], try{at, success})
			hours[at.Truncate(time.Hour)] = true
		}
		offset++
		add(t, &b, 0, offset, f)
		if i%20 == 0 { // a completed copy counts once
			c := cloneFact(f)
			c.End, c.Completed = f.GetEnd(), true
			offset++
			add(t, &b, 0, offset, c)
		}
		if i == 200 || i == 399 {
			insert(t, h, &b)
			b.Reset()
			for hour := range hours {
				must(t, h.Recompute(t.Context(), hour))
			}
		}
	}
	for hour := range hours { // again: nothing is added
		must(t, h.Recompute(t.Context(), hour))
	}
	want := make(map[ids.ID]history.WebhookStats)
	for hook, all := range tries {
		var s history.WebhookStats
		for _, a := range all {
			if a.success && a.at.After(s.LastSuccessAt) {
				s.LastSuccessAt = a.at
			}
			if !a.success && a.at.After(s.LastFailureAt) {
				s.LastFailureAt = a.at
			}
		}
		for _, a := range all {
			if !a.success && a.at.After(s.LastSuccessAt) {
				s.FailureCount++
			}
		}
		want[hook] = s
	}
	var hooks []ids.ID
	for i := range 8 { // two that nothing is known of
		hooks = append(hooks, webhook(i))
	}
	got, err := h.Stats(t.Context(), "acme", hooks...)
	must(t, err)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-counted +history:\n%s", diff)
	}
}

func TestPlaces(t *testing.T) {
	h := open(t)
	sources := history.Sources{0: {Offset: 5, Webhook: webhook(1)}, 3: {Offset: 9, Webhook: webhook(2)}}
	hours := []time.Time{noon.Add(-time.Hour), noon}
	must(t, h.AppendPlaces(t.Context(), []history.Place{
		{Topic: ledger.Attempts, Partition: 1, Next: 10, TopicID: webhook(7), Hours: hours, Sources: history.Sources{}},
		{Topic: ledger.Deliveries, Partition: 0, Next: 4, TopicID: webhook(8), Sources: sources},
	}))
	must(t, h.AppendPlaces(t.Context(), []history.Place{
		{Topic: ledger.Attempts, Partition: 1, Next: 8, TopicID: webhook(7)}, // behind
	}))
	got, err := h.Places(t.Context())
	must(t, err)
	want := []history.Place{
		{Topic: ledger.Attempts, Partition: 1, Next: 10, TopicID: webhook(7), Hours: hours, Sources: history.Sources{}},
		{Topic: ledger.Deliveries, Partition: 0, Next: 4, TopicID: webhook(8), Sources: sources},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	must(t, h.WaitCovered(t.Context(), ledger.Attempts, map[int32]int64{0: 0, 1: 10}))
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := h.WaitCovered(short, ledger.Attempts, map[int32]int64{1: 11}); err == nil {
		t.Error("covered what is not there")
	}
}
