package event_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"hookledger/ledger/event"
)

func sample() *event.Event {
	return &event.Event{
		ID: "evt_1", Source: "hookledger", Type: "export.ready", Account: "acme", IndexID: "idx", OrderingKey: "o",
		CreatedAt: time.Date(2026, 11, 23, 3, 4, 5, 678e6, time.UTC), Data: []byte(`{"n":12345678901234567890, "s":"ü"}`),
	}
}

func record(e *event.Event) *kgo.Record {
	return &kgo.Record{Key: e.Key(), Value: e.Data, Headers: e.Headers(), Timestamp: time.UnixMilli(1)}
}

func TestBodyIsFrozen(t *testing.T) {
	const want = `{"id":"evt_1","event":"export.ready","created_at":"2026-11-23T03:04:05.678Z","api_version":"2024-01",` +
		`"data":{"n":12345678901234567890, "s":"ü"},"metadata":{"a": 1}}`
	if got := string(event.Compose(sample(), []byte(`{"a": 1}`))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const bare = `{"id":"evt_1","event":"export.ready","created_at":"2026-11-23T03:04:05.678Z","api_version":"2024-01","data":{"n":12345678901234567890, "s":"ü"}}`
	if got := string(event.Compose(sample(), nil)); got != bare {
		t.Errorf("got  %s\nwant %s", got, bare)
	}
}

func TestDecodeReadsWhatHeadersWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~äöü日本]{1,40}`)
		e := sample()
		e.ID, e.Type, e.Account = text.Draw(t, "id"), text.Draw(t, "type"), text.Draw(t, "account")
		e.IndexID = rapid.SampledFrom([]string{"", "idx"}).Draw(t, "index")
		e.OrderingKey = rapid.SampledFrom([]string{"", "key/1"}).Draw(t, "ordering")
		e.Fresh = rapid.Bool().Draw(t, "fresh")
		got, err := event.Decode(record(e))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Fatal(diff)
		}
		if body := event.Compose(e, nil); !json.Valid(body) {
			t.Fatalf("not JSON: %s", body)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*kgo.Record)
		says  string
	}{
		"no headers":        {func(r *kgo.Record) { r.Headers = nil }, "ce_specversion"},
		"no account":        {func(r *kgo.Record) { set(r, "ce_accountid", "") }, "ce_accountid is missing"},
		"long id":           {func(r *kgo.Record) { set(r, "ce_id", strings.Repeat("x", 129)) }, "at most 128"},
		"control character": {func(r *kgo.Record) { set(r, "ce_id", "a\nb") }, "control character"},
		"not UTF-8":         {func(r *kgo.Record) { set(r, "ce_type", "\xff") }, "not UTF-8"},
		"bad time":          {func(r *kgo.Record) { set(r, "ce_time", "yesterday") }, "ce_time"},
		"array":             {func(r *kgo.Record) { r.Value = []byte(`[1]`) }, "not a JSON object"},
		"garbage":           {func(r *kgo.Record) { r.Value = []byte(`{"a":`) }, "not a JSON object"},
		"no value":          {func(r *kgo.Record) { r.Value = nil }, "not a JSON object"},
		"another key":       {func(r *kgo.Record) { r.Key = []byte("acme") }, "record key"},
	} {
		t.Run(name, func(t *testing.T) {
			r := record(sample())
			tc.spoil(r)
			_, err := event.Decode(r)
			if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want ErrInvalid that says %q", err, tc.says)
			}
		})
	}
}

func set(r *kgo.Record, key, value string) {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			r.Headers[i].Value = []byte(value)
		}
	}
}

func TestIdentityAndContent(t *testing.T) {
	a, b := sample(), sample()
	b.CreatedAt = b.CreatedAt.Add(time.Hour)
	if a.Identity() != b.Identity() || a.ContentHash() != b.ContentHash() {
		t.Error("a later clock makes it another event")
	}
	b.Data = []byte(`{}`)
	if a.Identity() != b.Identity() || a.ContentHash() == b.ContentHash() {
		t.Error("other data is the same content")
	}
	b.OrderingKey = ""
	if a.Identity() == b.Identity() {
		t.Error("another ordering key is the same event")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("evt", "export.ready", "acme", "", "2026-11-23T00:00:00Z", []byte(`{}`))
	f.Fuzz(func(t *testing.T, id, kind, account, ordering, at string, data []byte) {
		e := &event.Event{ID: id, Type: kind, Account: account, OrderingKey: ordering, Data: data}
		r := record(e)
		set(r, "ce_time", at)
		got, err := event.Decode(r)
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		if !json.Valid(event.Compose(got, nil)) {
			t.Fatalf("%q makes a body that is not JSON", data)
		}
		again, err := event.Decode(&kgo.Record{Key: got.Key(), Value: got.Data, Headers: got.Headers()})
		if err != nil || again.Identity() != got.Identity() || again.ContentHash() != got.ContentHash() || !again.CreatedAt.Equal(got.CreatedAt) {
			t.Fatalf("%s is written as %v: %v", got, again, err)
		}
	})
}

func BenchmarkDecodeCompose(b *testing.B) {
	r := record(sample())
	b.ReportAllocs()
	for b.Loop() {
		e, err := event.Decode(r)
		if err != nil {
			b.Fatal(err)
		}
		event.Compose(e, nil)
	}
}
