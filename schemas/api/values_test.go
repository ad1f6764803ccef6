package api

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTimeIsUTCWithMilliseconds(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-23T22:00:00Z":           `"2026-11-23T22:00:00.000Z"`,
		"2026-11-23T22:00:00.1+01:00":    `"2026-11-23T21:00:00.100Z"`,
		"2026-11-23T22:00:00.999999999Z": `"2026-11-23T22:00:00.999Z"`,
	} {
		u, err := time.Parse(time.RFC3339, in)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(Time(u))
		if err != nil || string(b) != want {
			t.Errorf("%s is written %s (%v), want %s", in, b, err, want)
		}
		var back Time
		if err := json.Unmarshal(b, &back); err != nil || back.String() != want[1:len(want)-1] {
			t.Errorf("%s is read %s (%v)", b, back, err)
		}
	}
	if NewTime(time.Time{}) != nil {
		t.Error("the zero time is not null")
	}
	if _, err := json.Marshal(Time(time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC))); err == nil {
		t.Error("a year of five digits is written")
	}
}

func TestPatchTellsLeftOutFromNull(t *testing.T) {
	for body, want := range map[string]WebhookPatch{
		`{}`:                 {},
		`{"index_ids":null}`: {IndexIDs: Opt[[]string]{Set: true, Null: true}},
		`{"index_ids":[]}`:   {IndexIDs: Opt[[]string]{Set: true, Value: []string{}}},
		`{"metadata":null}`:  {Metadata: Opt[json.RawMessage]{Set: true, Null: true}},
		`{"metadata":{"n":1e400,"n":12345678901234567890}}`: {Metadata: Opt[json.RawMessage]{Set: true, Value: json.RawMessage(`{"n":1e400,"n":12345678901234567890}`)}},
	} {
		var got WebhookPatch
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", body, d)
		}
	}
}

func TestSecretsStandBesideTheRecord(t *testing.T) {
	b, err := json.Marshal(WebhookWithSecret{Webhook: Webhook{WebhookID: "wh_1"}, Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil || m["webhook_id"] != "wh_1" || m["secret"] != "s" || m["metadata"] != nil {
		t.Errorf("%s (%v)", b, err)
	}
}
