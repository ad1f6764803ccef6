package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"hookledger/consumers/sender/receivertest"
)

// members checks that a JSON object has exactly these members.
func (a *answer) members(path, names string) *answer {
	a.t.Helper()
	o, ok := a.value(path).(map[string]any)
	if !ok {
		a.t.Fatalf("%s: %q is no object: %.1000s", a.about, path, a.body)
	}
	got, want := slices.Sorted(maps.Keys(o)), strings.Fields(names)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		a.t.Errorf("%s: the members of %q are %v, want %v", a.about, path, got, want)
	}
	return a
}

// Members of a webhook: the contract's, and three of ours.
const webhookMembers = `webhook_id name url events index_ids status failure_count last_failure_at last_success_at
	created_at updated_at metadata disabled_reason stats_as_of version`

var (
	timestamp   = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	snakeCase   = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	secretShape = regexp.MustCompile(`^whsec_[A-Za-z0-9+/]{43}=$`)
)

// wellFormed checks the form of an answer: names in snake_case, timestamps in
// UTC with milliseconds, UTF-8 JSON.
func (a *answer) wellFormed() {
	a.t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json" {
		a.t.Errorf("%s: Content-Type is %q", a.about, got)
	}
	if a.header.Get("X-Request-ID") == "" {
		a.t.Errorf("%s has no X-Request-ID", a.about)
	}
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, inner := range v {
				if k == "metadata" || k == "payload" || k == "data" || k == "response_headers" { // the customer's and the receiver's
					continue
				}
				if !snakeCase.MatchString(k) {
					a.t.Errorf("%s: the member %q is not in snake_case", a.about, k)
				}
				walk(k, inner)
			}
		case []any:
			for _, inner := range v {
				walk(name, inner)
			}
		case string:
			if (strings.HasSuffix(name, "_at") || strings.HasSuffix(name, "_as_of")) && !timestamp.MatchString(v) {
				a.t.Errorf("%s: %s is %q, want RFC 3339 in UTC with milliseconds", a.about, name, v)
			}
		}
	}
	walk("", a.value(""))
}

// Each endpoint of the contract's table of webhooks, with its answer.
func TestContractWebhookEndpoints(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := receiver(t, func(q *receivertest.Request) receivertest.Answer {
		if q.Header("X-Event-Type") == "media.created" {
			return receivertest.Answer{Status: 500}
		}
		return receivertest.Answer{}
	})
	url := r.URL()
	made := c.post("/webhooks", object{"name": "n", "url": url, "events": []string{"export.ready", "media.created"}}).is(201).members("", webhookMembers+" secret")
	path := "/webhooks/" + made.str("webhook_id")
	if made.header.Get("Location") != "/api/v2"+path {
		t.Errorf("Location is %q", made.header.Get("Location"))
	}
	if !secretShape.MatchString(made.str("secret")) || !strings.HasPrefix(made.str("webhook_id"), "wh_") || made.str("status") != "active" || made.str("failure_count") != "0" {
		t.Errorf("created: %s", made.body)
	}
	list := c.get("/webhooks").is(200).members("0", webhookMembers)
	one := c.get(path).is(200).members("", webhookMembers)
	patched := c.patch(path, object{"name": "m"}).is(200).members("", webhookMembers)
	rotated := c.post(path+"/rotate-secret", nil).is(200).members("", "webhook_id new_secret")
	tested := c.post(path+"/test", nil).is(200).members("", "success status_code error outcome duration_ms response_body")
	delivered := c.delivery(c.publish(), "delivered")
	failing := c.delivery(c.publish(object{"event": "media.created"}), "retrying")
	deliveries := c.get(path+"/deliveries").is(200).members("0", deliveryMembers)
	delivery := c.get("/webhooks/deliveries/"+delivered).is(200).members("", deliveryMembers+" stats")
	retried := c.askRetry(failing).is(200)
	gone := c.delete(path).is(200).members("", "message")
	for _, a := range []*answer{made, list, one, patched, rotated, tested, deliveries, delivery, retried, gone, c.get("/webhooks/events")} {
		a.wellFormed()
	}
	if retried.str("delivery_id") != failing || delivery.value("payload") == nil || retried.value("payload") == nil {
		t.Errorf("the single deliveries are %s and %s", delivery.body, retried.body)
	}
}

// The rules of each field of a webhook, in create and in PATCH alike.
func TestContractWebhookFields(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	url := "https://receiver.example/hook"
	path := c.webhook(url).path()
	big := func(n int) json.RawMessage { // a metadata object of n bytes
		return json.RawMessage(`{"k":"` + strings.Repeat("x", n-8) + `"}`)
	}
	for _, tc := range []struct {
		field string
		value any
		bad   string // the field that is named; "" for what is accepted
	}{
		{"name", "x", ""},
		{"name", strings.Repeat("ü", 100), ""},
		{"name", strings.Repeat("𝄞", 100), ""},
		{"name", strings.Repeat("x", 101), "/name"},
		{"name", "", "/name"},
		{"name", 1, "/name"},
		{"name", nil, "/name"},
		{"url", "https://receiver.example", ""},
		{"url", "http://receiver.example/", ""}, // this server allows it; TestGuardAndStandstill has one that does not
		{"url", "ftp://receiver.example/", "/url"},
		{"url", "receiver.example", "/url"},
		{"url", "https://", "/url"},
		{"url", nil, "/url"},
		{"events", []string{"media.created"}, ""},
		{"events", []string{}, "/events"},
		{"events", nil, "/events"},
		{"events", "media.created", "/events"},
		{"events", []string{"media.created", "media.none"}, "/events/1"},
		{"events", []any{1}, "/events/0"},
		{"index_ids", nil, ""},
		{"index_ids", []string{}, ""},
		{"index_ids", []string{"b", "a"}, ""},
		{"index_ids", []string{""}, "/index_ids/0"},
		{"index_ids", "a", "/index_ids"},
		{"metadata", nil, ""},
		{"metadata", object{"a": object{"b": []int{1}}}, ""},
		{"metadata", big(16 << 10), ""},
		{"metadata", big(16<<10 + 1), "/metadata"},
		{"metadata", []int{}, "/metadata"},
		{"metadata", "text", "/metadata"},
		{"secret", "whsec_mine", "/secret"},
		{"webhook_id", "wh_mine", "/webhook_id"},
	} {
		create := object{"name": "n", "url": url, "events": []string{"export.ready"}}
		create[tc.field] = tc.value
		answers := []*answer{c.post("/webhooks", create), c.patch(path, object{tc.field: tc.value})}
		for i, a := range answers {
			if tc.bad == "" {
				a.is([]int{201, 200}[i])
				sent, _ := json.Marshal(tc.value)
				got, _ := json.Marshal(a.value(tc.field))
				if !bytes.Equal(sent, got) {
					t.Errorf("%s: %s is %.100s, want %.100s", a.about, tc.field, got, sent)
				}
				continue
			}
			a.fails(422, "validation_failed")
			if at := a.str("error.details.fields.0.field"); at != tc.bad || a.str("error.details.fields.0.in") != "body" || a.str("error.details.fields.0.message") == "" {
				t.Errorf("%s with %s %.50v names %q: %s", a.about, tc.field, tc.value, at, a.body)
			}
		}
	}
	for status, want := range map[string]int{"active": 200, "paused": 200, "disabled": 422, "deleted": 422} {
		if a := c.patch(path, object{"status": status}).is(want); want == 200 && a.str("status") != status {
			t.Errorf("the status is %s, want %s", a.body, status)
		}
	}
	c.post("/webhooks", object{"name": "n", "url": url, "events": []string{"export.ready"}, "status": "paused"}).fails(422, "validation_failed")
	for _, missing := range []string{"name", "url", "events"} {
		body := object{"name": "n", "url": url, "events": []string{"export.ready"}}
		delete(body, missing)
		if a := c.post("/webhooks", body).fails(422, "validation_failed"); a.str("error.details.fields.0.field") != "/"+missing {
			t.Errorf("without %s: %s", missing, a.body)
		}
	}
}

// Unknown query parameters and body fields are 422 and named, all at once, on
// every endpoint.
func TestContractUnknownFields(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	for _, r := range routes {
		body := r.body
		if o, ok := body.(object); ok {
			o = maps.Clone(o)
			o["colour"], o["size"] = "red", 1
			body = o
		}
		a := c.do(r.method, r.nowhere()+"?shape=round&limit2=1", body).fails(422, "validation_failed")
		var got []string
		for i := range a.value("error.details.fields").([]any) {
			at := fmt.Sprintf("error.details.fields.%d.", i)
			got = append(got, a.str(at+"in")+" "+a.str(at+"field"))
		}
		want := []string{"query limit2", "query shape"}
		if r.body != nil {
			want = append(want, "body /colour", "body /size")
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s %s does not name %q: %v", r.method, r.path, w, got)
			}
		}
	}
}

// The order of events is kept; a field left out stays; an explicit null clears
// index_ids and metadata.
func TestContractPatch(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	all := object{
		"name": "n", "url": "https://receiver.example/a", "events": []string{"import_job.failed", "export.ready", "media.created"},
		"index_ids": []string{"b", "a"}, "metadata": object{"k": "v"},
	}
	path := c.webhook("", all).path()
	fields := []string{"name", "url", "events", "index_ids", "status", "metadata", "created_at", "webhook_id"}
	before := c.get(path).is(200)
	for _, change := range []object{
		{"name": "m"},
		{"url": "https://receiver.example/b"},
		{"events": []string{"media.created", "import_job.failed"}},
		{"index_ids": []string{"z", "y", "x"}},
		{"index_ids": nil},
		{"index_ids": []string{}},
		{"metadata": object{"other": 1}},
		{"metadata": nil},
		{"status": "paused"},
		{"status": "active"},
		{},
		{"name": "both", "metadata": object{"a": 1}},
	} {
		after := c.patch(path, change).is(200)
		for _, f := range fields {
			want := before.value(f)
			if v, set := change[f]; set {
				text, _ := json.Marshal(v)
				want = (&answer{t: t, body: text}).value("")
			}
			if got := after.value(f); fmt.Sprint(got) != fmt.Sprint(want) || (got == nil) != (want == nil) {
				t.Errorf("PATCH %v: %s is %v, want %v", change, f, got, want)
			}
		}
		if after.num("version") != before.num("version")+1 || after.time("updated_at").Before(before.time("updated_at")) {
			t.Errorf("PATCH %v: version and updated_at of %s, before %s", change, after.body, before.body)
		}
		if read := c.get(path).is(200); read.str("version") != after.str("version") || read.str("name") != after.str("name") {
			t.Errorf("a read after PATCH %v: %s", change, read.body)
		}
		before = after
	}
}

// The secret is shown by create and by rotate, and never again.
func TestContractSecretIsShownOnce(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	h := c.webhook("https://receiver.example/")
	rotated := c.post(h.path()+"/rotate-secret", nil).is(200)
	second := rotated.str("new_secret")
	if rotated.str("webhook_id") != h.id || second == h.secret {
		t.Errorf("rotated: %s", rotated.body)
	}
	for _, secret := range []string{h.secret, second} {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if !secretShape.MatchString(secret) || err != nil || len(key) != 32 {
			t.Errorf("the secret %s is not whsec_ and the base64 of 32 bytes: %v", secret, err)
		}
	}
	for name, a := range map[string]*answer{
		"the webhook": c.get(h.path()), "the list": c.get("/webhooks"), "PATCH": c.patch(h.path(), object{"name": "x"}),
		"test": c.post(h.path()+"/test", nil), "DELETE": c.delete(h.path()),
	} {
		if bytes.Contains(a.is(200).body, []byte("whsec_")) || bytes.Contains(a.body, []byte("secret")) {
			t.Errorf("%s shows a secret: %s", name, a.body)
		}
	}
}

// failure_count counts consecutive failed attempts, and the ETag names them too:
// a poller gets 304 while nothing changed, and sees new figures.
func TestContractFigures(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := receiver(t, receivertest.Sequence(
		receivertest.Answer{Status: 500}, receivertest.Answer{Status: 503}, receivertest.Answer{}, receivertest.Answer{Status: 500}))
	h := c.webhook(r.URL())
	tag := c.get(h.path()).is(200).header.Get("ETag")
	for i, want := range []string{"1", "2", "0", "1"} {
		c.with("If-None-Match: " + tag).get(h.path()).is(304)
		event := c.publish()
		var a *answer
		eventually(t, "the figures of try "+fmt.Sprint(i+1), func() error {
			if a = c.with("If-None-Match: " + tag).get(h.path()); a.status != 200 || a.str("failure_count") != want {
				return fmt.Errorf("%d %s", a.status, a.body)
			}
			return nil
		})
		switch last := a.str("last_success_at") > a.str("last_failure_at"); {
		case (i == 2) != last, i < 2 && a.value("last_success_at") != nil:
			t.Errorf("after try %d of %s: %s", i+1, event, a.body)
		}
		tag = a.header.Get("ETag")
	}
	// Figures don't stand in the way of a change.
	first := c.get(h.path()).is(200)
	c.askRetry(c.get(h.path() + "/deliveries?status=retrying").is(200).str("0.delivery_id")).is(200)
	c.with("If-Match: "+first.header.Get("ETag")).patch(h.path(), object{"name": "x"}).is(200)
}

// If-Match is 412 on another version, for every change; a PATCH without it that
// lost a race is judged again, so nothing is lost.
func TestContractVersions(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	h := c.webhook("https://receiver.example/")
	created := c.get(h.path()).is(200).header.Get("ETag")
	patched := c.with("If-Match: "+created).patch(h.path(), object{"name": "x"}).is(200).header.Get("ETag")
	if read := c.get(h.path()).is(200).header.Get("ETag"); patched != read || patched == created {
		t.Errorf("the ETags are %s created, %s patched, %s read", created, patched, read)
	}
	stale := c.with("If-Match: " + created)
	for name, a := range map[string]*answer{
		"PATCH": stale.patch(h.path(), object{"name": "y"}), "rotate": stale.post(h.path()+"/rotate-secret", nil), "DELETE": stale.delete(h.path()),
	} {
		if a.fails(412, "precondition_failed").num("error.details.version") != 2 {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	rotated := c.with("If-Match: "+patched).post(h.path()+"/rotate-secret", nil).is(200).header.Get("ETag")
	c.with("If-Match: "+rotated).patch(h.path(), object{"name": "z"}).is(200)
	c.with("If-Match: *").patch(h.path(), object{"name": "any"}).is(200)
	c.with("If-Match: 4, 5").patch(h.path(), object{"name": "listed"}).is(200)

	// Four PATCHes at once: each wins in the fifth round at the latest.
	changes := []object{{"name": "raced"}, {"metadata": object{"a": 1}}, {"index_ids": []string{"i"}}, {"events": []string{"media.created"}}}
	version := c.get(h.path()).is(200).num("version")
	const rounds = 5
	for range rounds {
		var all sync.WaitGroup
		for _, change := range changes {
			all.Go(func() {
				if a, err := c.try("PATCH", h.path(), change); err != nil || a.status != http.StatusOK {
					t.Errorf("a PATCH that raced: %v, %+v", err, a)
				}
			})
		}
		all.Wait()
	}
	a := c.get(h.path()).is(200)
	if a.num("version") != version+rounds*len(changes) || a.str("name") != "raced" || a.str("metadata.a") != "1" || a.str("index_ids.0") != "i" || a.str("events.0") != "media.created" {
		t.Errorf("after the races: %s, it was version %d", a.body, version)
	}
	c.with("If-Match: " + a.header.Get("ETag")).delete(h.path()).is(200)
	c.with("If-Match: *").patch(h.path(), object{"name": "x"}).fails(404, "resource_webhook_not_found")
}
