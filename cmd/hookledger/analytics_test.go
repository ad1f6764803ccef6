package main

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// query is a path with parameters, name after value.
func query(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return path + "?" + q.Encode()
}

func TestAnalytics(t *testing.T) {
	c := common.get(t).account(t)
	fine, bad := receiver(t, nil), receiver(t, receivertest.Sequence(receivertest.Answer{Status: 503}))
	good, down := c.webhook(fine.URL()), c.webhook(bad.URL(), object{"events": []string{"media.created"}})
	c.delivery(c.publish(), "delivered")
	c.delivery(c.publish(), "delivered")
	c.delivery(c.publish(object{"event": "media.created"}), "retrying")

	to := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	all := c.get(query("/analytics/deliveries", "to", to)).is(200)
	for path, want := range map[string]string{
		"total.deliveries": "3", "total.by_status.delivered": "2", "total.by_status.retrying": "1", "total.by_status.pending": "0", "total.by_status.failed": "0",
		"total.success_rate": "1", "total.attempts": "3", "total.attempts_per_delivery": "1", "groups_total": "0", "time_zone": "UTC",
		"buckets.0.figures.deliveries": "3", "buckets.0.start": all.str("from"), "buckets.0.end": all.str("to"),
	} {
		if got := all.str(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if all.str("total.time_to_success_ms.p50") == "" {
		t.Errorf("no time to success: %s", all.body)
	}
	if got := all.time("to").Sub(all.time("from")); got != 24*time.Hour {
		t.Errorf("the range left out is %s", got)
	}
	tries := c.get(query("/analytics/attempts", "to", to, "group_by", "webhook", "bucket", "hour", "time_zone", "Asia/Kathmandu")).is(200)
	for path, want := range map[string]string{
		"total.attempts": "3", "total.by_outcome.delivered": "2", "total.by_outcome.http_status": "1", "total.by_outcome.timeout": "0", "total.by_response.http_2xx": "2",
		"total.by_response.http_5xx": "1", "total.by_response.none": "0", "total.requests_sent": "3", "groups_total": "2",
		"groups.0.webhook_id": good.id, "groups.0.total.attempts": "2", "groups.1.webhook_id": down.id, "groups.1.total.success_rate": "0",
	} {
		if got := tries.str(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	buckets, _ := tries.value("buckets").([]any)
	if len(buckets) != 25 || tries.time("buckets.1.start").Minute() != 15 { // UTC + 05:45; the ends are shorter, the empty ones are there
		t.Errorf("%d buckets, the second begins at %s", len(buckets), tries.str("buckets.1.start"))
	}
	for _, params := range [][]string{
		{"webhook_id", down.id}, {"event", "media.created"}, {"status", "retrying"},
	} {
		if a := c.get(query("/analytics/deliveries", append(params, "to", to)...)).is(200); a.str("total.deliveries") != "1" {
			t.Errorf("%v: %s", params, a.body)
		}
	}
	if a := c.get(query("/analytics/attempts", "outcome", "http_status", "group_by", "event", "groups", "1", "to", to)).is(200); a.str("total.attempts") != "1" || a.str("groups.0.event") != "media.created" {
		t.Errorf("by outcome: %s", a.body)
	}
	fixed := query("/analytics/deliveries", "from", "2026-03-28T00:00:00+01:00", "to", "2026-03-31T00:00:00+02:00", "bucket", "day", "time_zone", "Europe/Berlin")
	days := c.get(fixed).is(200)
	for i, hours := range []float64{24, 23, 24} {
		if got := days.time(fmt.Sprintf("buckets.%d.end", i)).Sub(days.time(fmt.Sprintf("buckets.%d.start", i))); got.Hours() != hours {
			t.Errorf("day %d has %s, want %g h: %s", i, got, hours, days.body)
		}
	}
	if days.value("total.success_rate") != nil || days.value("total.time_to_success_ms") != nil || days.str("buckets.2.figures.deliveries") != "0" {
		t.Errorf("nothing at all: %s", days.body)
	}
	if again := c.get(fixed).is(200); !bytes.Equal(again.body, days.body) {
		t.Errorf("asked again: %s", again.body)
	}
	if other := common.get(t).as(t, common.get(t).token(t, t.Name()+"-other", "read")).get(query("/analytics/attempts", "to", to, "webhook_id", good.id)).is(200); other.str("total.attempts") != "0" {
		t.Errorf("another account sees %s", other.body)
	}
	common.get(t).as(t, common.get(t).token(t, t.Name(), "search")).get("/analytics/attempts").fails(403, "permission_scope_insufficient")
}

func TestAnalyticsLimits(t *testing.T) {
	c := common.get(t).account(t)
	for _, q := range []struct{ params, field string }{
		{"from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"},
		{"from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"},
		{"from=2026-02-30T00:00:00Z", "from"},
		{"from=yesterday", "from"},
		{"from=2026-01-01T00:00:00Z&to=2026-01-03T00:00:00Z&bucket=minute", "bucket"},
		{"bucket=week", "bucket"},
		{"bucket=minute&group_by=webhook", "groups"},
		{"time_zone=Mars/Olympus", "time_zone"},
		{"time_zone=Local", "time_zone"},
		{"webhook_id=wh_x", "webhook_id"},
		{"groups=101", "groups"},
		{"group_by=url", "group_by"},
		{"status=lost", "status"},
		{"color=red", "color"},
	} {
		a := c.get("/analytics/deliveries?"+q.params).fails(422, "validation_failed")
		if got := a.str("error.details.fields.0.field"); got != q.field {
			t.Errorf("%s: the field named is %q, want %q: %s", q.params, got, q.field, a.body)
		}
	}
	if a := c.get("/analytics/attempts?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z&time_zone=Local").fails(422, "validation_failed"); strings.Count(string(a.body), `"field"`) != 2 {
		t.Errorf("both faults at once: %s", a.body)
	}
}

func TestChanges(t *testing.T) {
	s := common.get(t)
	c := s.account(t)
	h := c.webhook("http://127.0.0.1:9/a", object{"metadata": object{"team": "x"}})
	moved := c.with("X-Request-ID: req-of-the-move").patch(h.path(), object{"url": "http://127.0.0.1:9/b"}).is(200)
	c.patch(h.path(), object{"status": "paused"}).is(200)
	rotated := c.post(h.path()+"/rotate-secret", nil).is(200)
	c.with(`If-Match: "1"`).patch(h.path(), object{"name": "late"}).is(412)
	key := c.post("/api-keys", object{"name": "robot", "scopes": []string{"admin"}}).is(201)
	robot := s.as(t, key.str("key"))
	robot.patch(h.path(), object{"name": "renamed", "metadata": nil}).is(200)
	renewed := c.post("/api-keys/"+key.str("key_id")+"/rotate", nil).is(200)
	c.post("/api-keys/"+renewed.str("new_key.key_id")+"/revoke", nil).is(200)
	c.delete(h.path()).is(200)

	a := c.get("/audit/changes").is(200)
	type change struct{ kind, subject, changed string }
	want := []change{ // newest first
		{"webhook_deleted", h.id, "[name url events index_ids status disabled_reason metadata secret_number]"},
		{"api_key_revoked", renewed.str("new_key.key_id"), "[revoked_at]"},
		{"api_key_rotated", key.str("key_id"), "[revoked_at replaced_by]"},
		{"webhook_updated", h.id, "[name metadata]"},
		{"api_key_created", key.str("key_id"), "[name scopes expires_at revoked_at replaced_by]"},
		{"secret_rotated", h.id, "[secret_number]"},
		{"webhook_updated", h.id, "[status]"},
		{"webhook_updated", h.id, "[url]"},
		{"webhook_created", h.id, "[name url events index_ids status disabled_reason metadata secret_number]"},
	}
	if len(a.list()) != len(want) {
		t.Fatalf("%d changes, want %d: %s", len(a.list()), len(want), a.body)
	}
	for i, w := range want {
		at := func(field string) string { return a.str(fmt.Sprintf("%d.%s", i, field)) }
		if got := (change{at("kind"), at("subject_id"), at("changed")}); got != w || at("verdict") != "applied" {
			t.Errorf("change %d is %+v %s, want %+v", i, got, at("verdict"), w)
		}
	}
	for path, want := range map[string]string{
		"7.before.url": "http://127.0.0.1:9/a", "7.after.url": "http://127.0.0.1:9/b", "7.request_id": moved.header.Get("X-Request-ID"),
		"7.actor.kind": "token", "7.actor.id": "test", "6.before.status": "active", "6.after.status": "paused",
		"5.before.secret_number": "1", "5.after.secret_number": "2", "3.actor.kind": "api_key", "3.actor.id": key.str("key_id"),
		"3.before.metadata.team": "x", "3.after.name": "renamed", "8.before": "", "0.after": "", "0.before.name": "renamed", "0.before.version": "5",
		"1.before.name": "robot", "2.after.replaced_by": renewed.str("new_key.key_id"),
	} {
		if got := a.str(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if a.value("3.after.metadata") != nil || a.str("1.after.revoked_at") == "" {
		t.Errorf("%s", a.body)
	}
	for _, secret := range []string{h.secret, rotated.str("new_secret"), key.str("key"), renewed.str("new_key.key"), "hash", "whsec_"} {
		if strings.Contains(string(a.body), secret) {
			t.Errorf("the audit trail tells %q", secret)
		}
	}
	for params, n := range map[string]int{
		"webhook_id=" + h.id: 6, "kind=webhook_updated": 3, "actor=" + key.str("key_id"): 1, "request_id=req-of-the-move": 1,
		"key_id=" + key.str("key_id"): 2, "verdict=conflict": 0, "webhook_id=wh_nothing": 0,
		"to=" + a.str("8.recorded_at"): 0, "from=" + a.str("0.recorded_at") + "&kind=webhook_deleted": 1,
	} {
		if got := c.get("/audit/changes?" + params).is(200); len(got.list()) != n {
			t.Errorf("%s: %d changes, want %d: %s", params, len(got.list()), n, got.body)
		}
	}
	var paged []string
	for path := "/audit/changes?limit=2"; path != ""; {
		page := c.get(path).is(200)
		for i := range page.list() {
			paged = append(paged, page.str(fmt.Sprintf("%d.change_id", i)))
		}
		if path = ""; page.header.Get("X-Next-Cursor") != "" {
			path = "/audit/changes?limit=2&cursor=" + page.header.Get("X-Next-Cursor")
			c.webhook("http://127.0.0.1:9/between") // newer than all
		}
	}
	for i := range want {
		if i >= len(paged) || paged[i] != a.str(fmt.Sprintf("%d.change_id", i)) {
			t.Fatalf("paged: %v, want %s", paged, a.body)
		}
	}
	s.as(t, s.token(t, t.Name(), "write")).get("/audit/changes").fails(403, "permission_scope_insufficient")
	if other := s.as(t, s.token(t, t.Name()+"-other", "admin")).get("/audit/changes?webhook_id=" + h.id).is(200); len(other.list()) != 0 {
		t.Errorf("another account sees %s", other.body)
	}
}
