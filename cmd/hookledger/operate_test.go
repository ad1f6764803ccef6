package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// One event, an array, or a line each; all of a request or none.
func TestPublishForms(t *testing.T) {
	c := common.get(t).account(t)
	r := receiver(t, nil)
	c.webhook(r.URL())
	event := func(n int) string {
		return fmt.Sprintf(`{"id":"%s-%d","event":"export.ready","data":{"n":%d}}`, t.Name(), n, n)
	}
	for name, a := range map[string]*answer{
		"one":    c.post("/events", event(1)),
		"array":  c.post("/events", "["+event(2)+","+event(3)+"]"),
		"ndjson": c.with("Content-Type: application/x-ndjson").post("/events", event(4)+"\n\n"+event(5)+"\r\n"+event(6)),
	} {
		first := map[string]int{"one": 1, "array": 2, "ndjson": 4}[name]
		for i := range a.is(202).value("events").([]any) {
			id := fmt.Sprintf("%s-%d", t.Name(), first+i)
			if got := a.str(fmt.Sprintf("events.%d.id", i)); got != id {
				t.Errorf("%s: event %d is %s, want %s", name, i, got, id)
			}
			c.delivery(id, "delivered")
			if got := c.get("/events/" + id).is(200); got.num("data.n") != first+i || got.str("event") != "export.ready" {
				t.Errorf("%s: %s", name, got.body)
			}
		}
	}
	c.post("/events", "["+event(7)+`,{"event":"export.ready"}]`).fails(422, "validation_failed")
	c.post("/events", "[]").fails(422, "validation_failed")
	c.with("Content-Type: application/x-ndjson").post("/events", event(7)+"\n{").fails(400, "request_malformed")
	c.delivery(c.publish(), "delivered") // afterwards: none of the refused was taken
	if r.Count() != 7 {
		t.Errorf("%d requests, want 7", r.Count())
	}
	c.get("/events/"+t.Name()+"-7").fails(404, "resource_event_not_found")
}

func TestOperations(t *testing.T) {
	s := common.get(t)
	nobody := s.as(t, "")
	nobody.get("root:/livez").is(200)
	a := nobody.get("root:/readyz").is(200)
	checks := map[string]bool{}
	for i := range a.value("checks").([]any) {
		checks[a.str(fmt.Sprintf("checks.%d.name", i))] = a.str(fmt.Sprintf("checks.%d.ready", i)) == "true"
	}
	for _, name := range []string{"log", "router", "dispatcher", "historian", "history"} {
		if !checks[name] {
			t.Errorf("/readyz does not say that %s is ready: %s", name, a.body)
		}
	}
	var document struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(nobody.get("root:/openapi.json").is(200).body, &document); err != nil || document.OpenAPI == "" || document.Paths["/api/v2/webhooks"]["post"] == nil {
		t.Errorf("/openapi.json: %v, version %q", err, document.OpenAPI)
	}
	if a := nobody.get("root:/docs").is(200); !strings.Contains(string(a.body), "Create a webhook") || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("/docs: %v %.200s", a.header, a.body)
	}
	metrics := string(nobody.get("root:/metrics").is(200).body)
	for _, name := range []string{
		"hookledger_api_", "hookledger_router_", "hookledger_dispatcher_", "hookledger_historian_", "hookledger_broker_sync_seconds", "hookledger_kafka_", "go_goroutines",
	} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	if wh := regexp.MustCompile(`wh_[0-9a-v]{26}`).FindString(metrics); wh != "" {
		t.Errorf("/metrics names the webhook %s", wh)
	}
}

// Without being told, the program reaches neither http URLs nor this machine.
// And while the history stands still, everything else goes on.
func TestGuardAndStandstill(t *testing.T) {
	dir := newDataDir(t)
	r := receiver(t, nil)
	open := startServer(t, dir, openFlags...)
	c := open.account(t)
	h := c.webhook(r.URL()) // made while it was allowed
	if err := open.stop(); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dir)
	c.server = s
	for _, url := range []string{"http://receiver.example/", r.URL(), "https://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://10.1.2.3/", "https://169.254.169.254/"} {
		a := c.post("/webhooks", object{"name": "n", "url": url, "events": []string{"export.ready"}}).fails(422, "validation_failed")
		if a.str("error.details.fields.0.field") != "/url" {
			t.Errorf("%s was answered %s", url, a.body)
		}
	}
	if a := c.post(h.path()+"/test", nil).is(200); a.str("outcome") != "blocked" || a.value("status_code") != nil {
		t.Errorf("a test to this machine: %s", a.body)
	}
	id := c.delivery(c.publish(), "retrying")
	if a := c.get("/webhooks/deliveries/" + id + "/attempts").is(200); a.str("0.outcome") != "blocked" || a.str("0.request_sent") != "false" {
		t.Errorf("a delivery to this machine: %s", a.body)
	}
	if r.Connections() != 0 {
		t.Error("the receiver on this machine was reached")
	}

	said, err := os.ReadFile(s.err)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`engine is up.* pid=(\d+)`).FindSubmatch(said)
	if m == nil {
		t.Fatalf("the log does not name the engine's process: %s", said)
	}
	pid, _ := strconv.Atoi(string(m[1]))
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	began := time.Now()
	a := c.get("/webhooks/deliveries/"+id).fails(503, "history_unavailable")
	if a.header.Get("Retry-After") == "" || a.num("error.retry_after") < 1 {
		t.Errorf("503 without Retry-After: %v %s", a.header, a.body)
	}
	t.Logf("503 after %s", time.Since(began).Round(time.Millisecond))
	if got := c.get(h.path()).is(200); got.str("webhook_id") != h.id {
		t.Errorf("%s", got.body)
	}
	next := c.publish()
	nobody := s.as(t, "")
	eventually(t, "/readyz to say that the history stands still", func() error {
		if a := nobody.get("root:/readyz"); a.status != 503 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
	nobody.get("root:/livez").is(200)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the history to come back", func() error {
		if a := c.get("/events/" + next); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
}
