package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
	"hookledger/deploy/embedded/datadir"
)

// A failed delivery waits for its next try; a retry asked for moves it to now.
func TestManualRetry(t *testing.T) {
	c := common.get(t).account(t)
	r := receiver(t, receivertest.Sequence(
		receivertest.Answer{Status: 500, Body: "broken", Header: []string{"X-Why: disk"}}, receivertest.Answer{Body: "fine"}))
	h := c.webhook(r.URL())
	before := time.Now()
	id := c.delivery(c.publish(), "retrying")
	d := c.get("/webhooks/deliveries/" + id).is(200)
	if d.str("attempts") != "1" || d.str("response_status_code") != "500" || d.str("response_body") != "broken" || d.str("error_message") == "" ||
		d.value("completed_at") != nil || d.value("end") != nil {
		t.Errorf("after a failure: %s", d.body)
	}
	within(t, "next_retry_at", d.time("next_retry_at"), before.Add(time.Hour), 7*time.Minute) // an hour, give or take a tenth
	eventually(t, "the webhook's figures", func() error {
		if a := c.get(h.path()).is(200); a.str("failure_count") != "1" || a.str("last_failure_at") == "" {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})

	a := c.post("/webhooks/deliveries/"+id+"/retry", nil).is(200)
	if a.str("delivery_id") != id || a.str("status") != "retrying" && a.str("status") != "delivered" || a.value("payload") == nil {
		t.Errorf("the retry answered %s", a.body)
	}
	d = c.becomes(id, "delivered")
	if d.str("attempts") != "2" || d.value("next_retry_at") != nil || d.value("error_message") != nil || d.str("response_body") != "fine" {
		t.Errorf("after the retry: %s", d.body)
	}
	attempts := c.get("/webhooks/deliveries/" + id + "/attempts").is(200)
	got := received(t, r, 2)
	for i, want := range []struct{ outcome, status, body string }{{"http_status", "500", "broken"}, {"delivered", "200", "fine"}} {
		at := func(field string) string { return attempts.str(fmt.Sprintf("%d.%s", i, field)) }
		if at("number") != fmt.Sprint(i+1) || at("outcome") != want.outcome || at("response_status_code") != want.status ||
			at("response_body") != want.body || at("maybe_repeat") != "false" || at("attempt_id") != got[i].Header("X-Delivery-Attempt-ID") {
			t.Errorf("attempt %d is %s", i+1, attempts.body)
		}
		if !bytes.Equal(got[i].Body(), got[0].Body()) {
			t.Errorf("attempt %d sent other bytes: %s", i+1, got[i].Body())
		}
		if err := got[i].Verify(h.secret); err != nil {
			t.Error(err)
		}
	}
	page := c.get("/webhooks/deliveries/" + id + "/attempts?limit=1").is(200)
	rest := c.get("/webhooks/deliveries/" + id + "/attempts?limit=1&cursor=" + page.header.Get("X-Next-Cursor")).is(200)
	if rest.str("0.number") != "2" || rest.header.Get("X-Next-Cursor") != "" {
		t.Errorf("the second page is %s", rest.body)
	}
	c.post("/webhooks/deliveries/"+id+"/retry", nil).fails(409, "delivery_already_delivered")
	c.get("/webhooks/deliveries/del_nothing").fails(404, "resource_delivery_not_found")
	if r.Count() != 2 {
		t.Errorf("%d requests, want 2", r.Count())
	}
}

// What a receiver can do to us is said in one closed set of words.
func TestOutcomes(t *testing.T) {
	c := common.get(t).account(t)
	r := receiver(t, func(q *receivertest.Request) receivertest.Answer {
		switch q.Target() {
		case "/reset":
			return receivertest.Answer{Silent: true, Then: receivertest.Reset}
		case "/garbage":
			return receivertest.Answer{Raw: "SSH-2.0-OpenSSH_9.9\r\n\r\n", Then: receivertest.Close}
		case "/moved":
			return receivertest.Answer{Status: 302, Header: []string{"Location: /elsewhere"}}
		default:
			return receivertest.Answer{Status: 204}
		}
	})
	untrusted := httptest.NewUnstartedServer(nil) // its certificate is nobody's
	untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	untrusted.StartTLS()
	defer untrusted.Close()
	for url, want := range map[string]string{
		r.URL() + "/ok": "delivered", r.URL() + "/reset": "reset", r.URL() + "/garbage": "protocol", r.URL() + "/moved": "http_status",
		"http://127.0.0.1:1/": "refused", "http://no-such-host.invalid/": "dns",
		untrusted.URL: "tls",
	} {
		h := c.webhook(url, object{"events": []string{"media.created"}})
		status := "retrying"
		if want == "delivered" {
			status = "delivered"
		}
		id := c.delivery(c.publish(object{"event": "media.created"}), status)
		a := c.get("/webhooks/deliveries/" + id + "/attempts").is(200)
		sent := fmt.Sprint(want != "refused" && want != "dns" && want != "tls")
		if a.str("0.outcome") != want || a.str("0.request_sent") != sent {
			t.Errorf("%s: %s", url, a.body)
		}
		c.delete(h.path()).is(200)
	}
	for _, q := range r.Requests() {
		if q.Target() == "/elsewhere" {
			t.Error("a redirect was followed")
		}
	}
}

// 410 disables the webhook, on the record; who mends it resumes it.
func TestGone(t *testing.T) {
	c := common.get(t).account(t)
	r := receiver(t, receivertest.Sequence(receivertest.Answer{Status: 410}, receivertest.Answer{}))
	h := c.webhook(r.URL())
	first := c.delivery(c.publish(), "retrying")
	eventually(t, "the webhook to be disabled", func() error {
		if a := c.get(h.path()).is(200); a.str("status") != "disabled" || a.str("disabled_reason") == "" {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
	second := c.delivery(c.publish(), "pending") // it still matches
	c.patch(h.path(), object{"status": "active"}).is(200)
	c.becomes(second, "delivered")
	c.post("/webhooks/deliveries/"+first+"/retry", nil).is(200)
	c.becomes(first, "delivered")
}

// A round ends after the schedule's last try; a retry begins another. And what a
// stop does to what is under way: it lets it finish, or cuts it and says so. No
// secret lies in the clear anywhere but in the key files.
func TestGivingUpAndStopping(t *testing.T) {
	dir := newDataDir(t)
	flags := append(slices.Clone(openFlags), "--retry-schedule", "50ms,100ms", "--log-level", "debug", "--shutdown-timeout", "4s")
	s := startServer(t, dir, flags...)
	c := s.account(t)
	var answer atomic.Pointer[receivertest.Answer]
	answer.Store(&receivertest.Answer{Status: 500})
	r := receiver(t, func(*receivertest.Request) receivertest.Answer { return *answer.Load() })
	h := c.webhook(r.URL())

	id := c.delivery(c.publish(), "failed")
	d := c.get("/webhooks/deliveries/" + id).is(200)
	if d.str("attempts") != "3" || d.str("end") != "given_up" || d.str("completed_at") == "" || d.value("next_retry_at") != nil {
		t.Errorf("given up: %s", d.body)
	}
	answer.Store(&receivertest.Answer{})
	c.post("/webhooks/deliveries/"+id+"/retry", nil).is(200)
	again := c.becomes(id, "delivered")
	if again.str("attempts") != "4" || again.num("round") <= d.num("round") {
		t.Errorf("after a new round: %s", again.body)
	}
	attempts := c.get("/webhooks/deliveries/" + id + "/attempts").is(200)
	for i := range 4 {
		if attempts.str(fmt.Sprintf("%d.number", i)) != fmt.Sprint(i+1) {
			t.Errorf("attempts: %s", attempts.body)
		}
	}

	// A stop lets what is in flight finish.
	answer.Store(&receivertest.Answer{Delay: time.Second})
	before := r.Count()
	slow := c.publish()
	received(t, r, before+1)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = startServer(t, dir, flags...)
	c.server = s
	d = c.get("/webhooks/deliveries/" + c.delivery(slow, "delivered")).is(200)
	if d.str("attempts") != "1" || d.str("stats.maybe_repeats") != "0" || r.Count() != before+1 {
		t.Errorf("after a stop with a slow receiver: %s, %d requests", d.body, r.Count()-before)
	}

	// What takes longer is cut, is on the record, and is tried again at the next start.
	answer.Store(&receivertest.Answer{Silent: true, Then: receivertest.Hang})
	before = r.Count()
	hung := c.publish()
	received(t, r, before+1)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	answer.Store(&receivertest.Answer{})
	s = startServer(t, dir, flags...)
	c.server = s
	d = c.get("/webhooks/deliveries/" + c.delivery(hung, "delivered")).is(200)
	attempts = c.get("/webhooks/deliveries/" + d.str("delivery_id") + "/attempts").is(200)
	if d.str("attempts") != "2" || attempts.str("0.outcome") != "interrupted" || attempts.str("0.request_sent") != "true" || attempts.str("1.outcome") != "delivered" {
		t.Errorf("after a stop with a receiver that hangs: %s", attempts.body)
	}
	if r.Count() != before+2 {
		t.Errorf("%d requests, want 2", r.Count()-before)
	}

	// Secrets.
	rotated := c.post(h.path()+"/rotate-secret", object{"overlap_seconds": 60}).is(200).str("new_secret")
	key := c.post("/api-keys", object{"name": "k", "scopes": []string{"write"}}).is(201).str("key")
	s.as(t, key).with("Idempotency-Key: once").webhook(r.URL())
	c.deliveries(s.as(t, key).publish(), 2, "delivered")
	changes := s.ok(t, "", "sql --format JSONEachRow", "SELECT * FROM config_changes FINAL")
	if n := strings.Count(changes, "\n") + 1; n < 4 {
		t.Errorf("the audit trail has %d changes", n)
	}
	serving, err := datadir.ReadServing(dir)
	if err != nil {
		t.Fatal(err)
	}
	hidden := map[string]string{
		"a webhook's secret": h.secret, "a rotated secret": rotated, "an API key": key,
		"a token":       strings.TrimPrefix(c.header.Get("Authorization"), "Bearer "),
		"the admin key": strings.TrimSpace(read(t, filepath.Join(dir, "keys", "admin.key"))),
	}
	logged := map[string]string{"the broker's password": serving.Broker.Password.Reveal()}
	for user, password := range serving.Engine.Users {
		logged["the DSN password of "+user] = password.Reveal()
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	notIn := func(where, text string, values map[string]string) {
		for what, value := range values {
			if len(value) < 8 {
				t.Errorf("%s is %q: nothing to look for", what, value)
			} else if strings.Contains(text, value) {
				t.Errorf("%s lies in the clear in %s", what, where)
			}
		}
	}
	notIn("config_changes", changes, hidden)
	logs, err := filepath.Glob(dir + ".*")
	if err != nil || len(logs) != 6 {
		t.Fatalf("logs: %v, %v", logs, err)
	}
	for _, file := range logs {
		notIn(file, read(t, file), hidden)
		notIn(file, read(t, file), logged)
	}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Dir(path) == filepath.Join(dir, "keys") {
			return err
		}
		notIn(path, read(t, path), hidden)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, file := range []string{"keys/admin.key", "keys/secrets.json"} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v", file, err, info.Mode())
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
