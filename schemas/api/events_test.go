package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hookledger/schemas/api/apierr"
	"hookledger/schemas/api/rawjson"
)

// specified is the verdict of the specification on one body: the offending fields, or that it is malformed. It goes the way of
// every other operation: decoding and kin-openapi's visitor.
func specified(s *Spec, body []byte) (fields []string, malformed bool) {
	schema := s.doc.Components.Schemas["EventInput"].Value
	if rawjson.KindOf(bytes.TrimLeft(body, " \t\r\n")) != rawjson.Object {
		schema = s.doc.Components.Schemas["EventsInput"].Value.OneOf[1].Value
	}
	if rawjson.Check(body, MaxDepth) != nil {
		return nil, true
	}
	faults, err := s.judgeBody(schema, body)
	if err != nil {
		return nil, true
	}
	return names(faults), false
}

func names(faults []apierr.Field) []string {
	var all []string
	for _, f := range faults {
		all = append(all, f.Field)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// sameVerdict fails if the hand-written validator and the specification differ on body.
func sameVerdict(t rapid.TB, s *Spec, body []byte) {
	t.Helper()
	if rawjson.Check(body, MaxDepth) != nil && rawjson.Check(body, MaxDepth+1) == nil {
		return // with several events the depth counts from each event
	}
	want, malformed := specified(s, body)
	// `data` is as large as the specification says there, so that only the other rules differ.
	events, err := ReadEvents(mediaJSON, body, s.catalogue, EventLimits{})
	var got []string
	if err != nil {
		if (err.Code == apierr.RequestMalformed) != malformed {
			t.Fatalf("%q: %v, the specification says malformed: %v", body, err, malformed)
		}
		fields, _ := err.Details["fields"].([]apierr.Field)
		got = names(fields)
	} else if malformed {
		t.Fatalf("%q: accepted, the specification says malformed", body)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%q: specification and hand-written validator differ: %s", body, d)
	}
	if err == nil {
		sameEvents(t, body, events)
	}
}

// sameEvents: what was read is what encoding/json reads.
func sameEvents(t rapid.TB, body []byte, got []NewEvent) {
	t.Helper()
	var want []NewEvent
	if rawjson.KindOf(bytes.TrimLeft(body, " \t\r\n")) == rawjson.Object {
		want = make([]NewEvent, 1)
		if err := json.Unmarshal(body, &want[0]); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
	} else if err := json.Unmarshal(body, &want); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	for i := range want {
		want[i].CreatedAt = want[i].CreatedAt.UTC()
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%q: %s", body, d)
	}
}

// bodies generates bodies that are mostly near the rules.
func bodies() *rapid.Generator[[]byte] {
	str := rapid.OneOf(
		rapid.SampledFrom([]string{
			`""`, `"a"`, `"a b"`, `"\u0061"`, `"\u0000"`, `"\u007f"`, `"é"`, `"\ud83d\ude00"`, `"\ud800"`, `"\n"`, `"export.ready"`, `"export\u002eready"`,
			`"Export.ready"`, `"2026-11-23T22:00:00Z"`, `"2026-11-23T22:00:00.123456789+23:59"`, `"2026-11-23T22:00:00.1234567890Z"`, `"2026-11-23T22:00:60Z"`, `"2026-02-29T00:00:00Z"`,
			`"2026-11-23t22:00:00z"`, `"2026-11-23T22:00:00,5Z"`, `"2026-11-23T22:00:00+24:00"`, `"2026-11-23T24:00:00Z"`, `"2026-11-23 22:00:00Z"`, `"1979-12-31T23:59:59Z"`,
			`"1980-01-01T00:00:00Z"`, `"3000-01-01T00:00:00Z"`, `"2026-11-23T22:00:00"`, `"2026-11-23T22:00:00.Z"`, `"2026-11-23T2:00:00Z"`, `"2026-11-23T22:00:00-00:00"`,
			`"` + strings.Repeat("a", 128) + `"`, `"` + strings.Repeat("a", 129) + `"`, `"` + strings.Repeat("é", 255) + `"`, `"` + strings.Repeat("é", 256) + `"`,
		}),
		rapid.Custom(func(t *rapid.T) string {
			b, err := json.Marshal(rapid.String().Draw(t, "text"))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}),
	)
	other := rapid.SampledFrom([]string{`null`, `true`, `0`, `1e400`, `-1.5`, `[]`, `{}`, `[1]`, `{"a":1,"a":[null,{"b":"\ud800"}]}`, `tru`, `01`, `"`, `{`, "\"\xff\""})
	value := rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(t, "kind") < 7 {
			return str.Draw(t, "string")
		}
		return other.Draw(t, "other")
	})
	event := rapid.Custom(func(t *rapid.T) string {
		var members []string
		add := func(name, v string) { members = append(members, fmt.Sprintf("%q:%s", name, v)) }
		if rapid.IntRange(0, 9).Draw(t, "has event") > 0 {
			add("event", rapid.SampledFrom([]string{`"export.ready"`, `"media.created"`, `"import\u005fjob.failed"`}).Draw(t, "event"))
		}
		if rapid.IntRange(0, 9).Draw(t, "has data") > 0 {
			add("data", rapid.SampledFrom([]string{`{}`, `{"a":1e400}`, ` { "x" : [ ] } `, `{"a":1,"a":2}`}).Draw(t, "data"))
		}
		for range rapid.IntRange(0, 4).Draw(t, "others") {
			name := rapid.SampledFrom([]string{"id", "index_id", "ordering_key", "created_at", "event", "data", "ID", "x/y~z", ""}).Draw(t, "name")
			add(name, value.Draw(t, "value"))
		}
		members = rapid.Permutation(members).Draw(t, "order")
		space := rapid.SampledFrom([]string{"", " ", "\n\t"}).Draw(t, "space")
		return space + "{" + strings.Join(members, space+","+space) + "}" + space
	})
	return rapid.Custom(func(t *rapid.T) []byte {
		switch rapid.IntRange(0, 9).Draw(t, "form") {
		case 0:
			return []byte(value.Draw(t, "alone"))
		case 1, 2, 3:
			all := rapid.SliceOfN(rapid.OneOf(event, event, event, value), 0, 4).Draw(t, "array")
			return []byte("[" + strings.Join(all, ",") + "]")
		}
		return []byte(event.Draw(t, "one"))
	})
}

func TestEventsAreJudgedAsSpecified(t *testing.T) {
	s := load(t)
	gen := bodies()
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		body := gen.Draw(t, "body")
		if _, err := ReadEvents(mediaJSON, body, s.catalogue, EventLimits{}); err == nil {
			accepted++
		}
		sameVerdict(t, s, body)
	})
	if accepted == 0 {
		t.Error("no generated body was valid: the comparison says little")
	}
}

var eventSeeds = []string{
	`{"event":"export.ready","data":{}}`, `[{"event":"export.ready","data":{"a":1}},{"event":"media.created","data":{},"id":"x"}]`, `[]`, `{}`, `null`, ``, `[`, `{"event":1}`,
	`{"id":"a","event":"export.ready","data":{"n":1e400},"index_id":"i","ordering_key":"k","created_at":"2026-11-23T22:00:00.5+01:00"}`,
	`{"event":"export.ready","data":{},"id":null,"index_id":null,"ordering_key":null,"created_at":null}`, `{"event":"export.ready","data":[],"x":1,"id":""}`,
	`{"event":"export.ready","event":"export.ready","data":{}}`, `{"\u0065vent":"export.ready","data":{}}`, `{"event":"export.ready","data":{},"created_at":"2024-02-30T00:00:00Z"}`,
	`{"event":"export.ready","data":{},"\ud800":1}`, `{"event":"export.ready","data":{},"":1,"a/b":2}`,
}

func FuzzEventsAreJudgedAsSpecified(f *testing.F) {
	s := load(f)
	for _, body := range eventSeeds {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 4096 {
			return
		}
		sameVerdict(t, s, body)
	})
}

func TestEventSizes(t *testing.T) {
	s := load(t)
	data := func(n int) string { return `{"a":"` + strings.Repeat("a", n-8) + `"}` }
	event := func(n int) string { return `{"event":"export.ready","data":` + data(n) + `}` }
	pad := func(body string, n int) string { return body + strings.Repeat(" ", n-len(body)) }
	many := func(n int) string {
		return "[" + strings.Repeat(event(8)+",", n-1) + event(8) + "]"
	}
	for _, c := range []struct {
		name, media, body string
		code              apierr.Code
		fields            []string
	}{
		{"largest data", mediaJSON, event(256 << 10), "", nil},
		{"larger data", mediaJSON, event(256<<10 + 1), apierr.RequestTooLarge, []string{"/data"}},
		{"larger data of the second", mediaJSON, "[" + event(8) + "," + event(256<<10+1) + "]", apierr.RequestTooLarge, []string{"/1/data"}},
		{"larger data, and a fault", mediaJSON, `[` + event(256<<10+1) + `,{"data":{}}]`, apierr.ValidationFailed, []string{"/1/event"}},
		{"largest single", mediaJSON, pad(event(8), 1<<20), "", nil},
		{"larger single", mediaJSON, pad(event(8), 1<<20+1), apierr.RequestTooLarge, nil},
		{"largest body", mediaJSON, pad(many(2), 8<<20), "", nil},
		{"larger body", mediaJSON, pad(many(2), 8<<20+1), apierr.RequestTooLarge, nil},
		{"most events", mediaJSON, many(1000), "", nil},
		{"more events", mediaJSON, many(1001), apierr.ValidationFailed, []string{""}},
		{"deepest", mediaJSON, `{"event":"export.ready","data":{"a":` + strings.Repeat("[", MaxDepth-2) + strings.Repeat("]", MaxDepth-2) + `}}`, "", nil},
		{"deeper", mediaJSON, `{"event":"export.ready","data":{"a":` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `}}`, apierr.RequestMalformed, nil},
		{"deeper beside", mediaJSON, strings.Repeat("[", MaxDepth+2) + strings.Repeat("]", MaxDepth+2), apierr.RequestMalformed, nil},
		{"lines", mediaNDJSON, event(8) + "\r\n\n  " + event(8) + "\n\n", "", nil},
		{"most lines", mediaNDJSON, strings.Repeat(event(8)+"\n", 1000), "", nil},
		{"more lines", mediaNDJSON, strings.Repeat(event(8)+"\n", 1001), apierr.ValidationFailed, []string{""}},
		{"no lines", mediaNDJSON, "\n \n", apierr.ValidationFailed, []string{""}},
		{"a bad line", mediaNDJSON, event(8) + "\n\n{", apierr.RequestMalformed, nil},
		{"two on a line", mediaNDJSON, event(8) + event(8), apierr.RequestMalformed, nil},
		{"an array on a line", mediaNDJSON, event(8) + "\n[" + event(8) + "]", apierr.ValidationFailed, []string{"/1"}},
		{"a fault on a line", mediaNDJSON, event(8) + "\n\n" + `{"event":"x","data":{}}`, apierr.ValidationFailed, []string{"/1/event"}},
	} {
		events, err := ReadEvents(c.media, []byte(c.body), s.catalogue, EventLimits{})
		if err == nil {
			if c.code != "" || len(events) == 0 {
				t.Errorf("%s: accepted %d events, want %s", c.name, len(events), c.code)
			}
			continue
		}
		fields, _ := err.Details["fields"].([]apierr.Field)
		if err.Code != c.code || !slices.Equal(names(fields), c.fields) {
			t.Errorf("%s: %s %v, want %s %v", c.name, err.Code, names(fields), c.code, c.fields)
		}
	}
}

func TestManyFaultsAreBounded(t *testing.T) {
	s := load(t)
	body := `{"event":"export.ready","data":{}` + strings.Repeat(`,"`+strings.Repeat("x", 50)+`":1`, 15000) + `}`
	_, err := ReadEvents(mediaJSON, []byte(body), s.catalogue, EventLimits{})
	if fields, _ := err.Details["fields"].([]apierr.Field); len(fields) != maxFields {
		t.Errorf("%d fields are named, want %d", len(fields), maxFields)
	}
	if len(err.Message) > 1000 {
		t.Errorf("the message has %d bytes", len(err.Message))
	}
}

func TestDataIsTheBytesThatWereSent(t *testing.T) {
	s := load(t)
	const data = `{ "b" : 1e400, "a":12345678901234567890,"a":"\u00e9<" }`
	events, err := ReadEvents(mediaJSON, []byte(`{"data": `+data+` ,"event":"export.ready","created_at":"2026-11-23T23:00:00.25+01:00"}`), s.catalogue, EventLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if string(events[0].Data) != data {
		t.Errorf("data is %s", events[0].Data)
	}
	if want := time.Date(2026, 11, 23, 22, 0, 0, 25e7, time.UTC); !events[0].CreatedAt.Equal(want) {
		t.Errorf("created_at is %s", events[0].CreatedAt)
	}
}

// BenchmarkReadEvents against what every other operation costs, for a body of 1 KB:
//
//	go test -bench ReadEvents ./schemas/api
func BenchmarkReadEvents(b *testing.B) {
	s := load(b)
	item := `{"i":12345,"title":"a video of a cat","tags":["a","b"],"size":1.5}`
	body := []byte(`{"id":"evt_0123456789","event":"export.ready","index_id":"idx_1","data":{"items":[` + strings.Repeat(item+",", 12) + item + `]}}`)
	b.Run("hand-written", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ReadEvents(mediaJSON, body, s.catalogue, EventLimits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("kin-openapi", func(b *testing.B) {
		schema := s.doc.Components.Schemas["EventInput"].Value
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				b.Fatal(err)
			}
			if err := visit(schema, v); err != nil {
				b.Fatal(err)
			}
			var e NewEvent
			if err := json.Unmarshal(body, &e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
