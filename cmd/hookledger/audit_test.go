package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hookledger/consumers/sender/receivertest"
)

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// TestQuestionsOfAuditors asks the questions of the auditors' page, as they stand
// there, of what was done through the API.
func TestQuestionsOfAuditors(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "schemas", "clickhouse", "AUDIT.md"))
	if err != nil {
		t.Fatal(err)
	}
	var questions []string
	for _, m := range sqlBlock.FindAllSubmatch(page, -1) {
		questions = append(questions, string(m[1]))
	}
	if len(questions) != 10 {
		t.Fatalf("the page has %d questions, want 10", len(questions))
	}

	s := common.get(t)
	c := s.account(t)
	was, now := receiver(t, nil), receiver(t, receivertest.Sequence(receivertest.Answer{}, receivertest.Answer{}, receivertest.Answer{Status: 500, Body: "broken"}, receivertest.Answer{Body: "fine"}))
	h := c.webhook(was.URL())
	elsewhere := c.webhook(was.URL(), object{"events": []string{"export.ready"}, "index_ids": []string{"other"}})
	also := c.webhook(was.URL(), object{"events": []string{"export.ready", "media.created"}, "index_ids": []string{"one"}})
	first := c.publish(object{"index_id": "one"})
	c.deliveries(first, 2, "delivered")
	key := c.post("/api-keys", object{"name": "robot", "scopes": []string{"write"}}).is(201)
	robot := s.as(t, key.str("key"))
	moved := robot.patch(h.path(), object{"url": now.URL()}).is(200)
	second := c.publish(object{"index_id": "one"})
	c.deliveries(second, 2, "delivered")
	c.patch(h.path(), object{"status": "paused"}).is(200)
	third := c.publish(object{"index_id": "two"}) // waits
	c.delivery(third, "pending")
	c.patch(h.path(), object{"status": "active"}).is(200)
	c.delivery(third, "delivered")
	failing := c.publish(object{"index_id": "two"})
	broken := c.delivery(failing, "retrying")
	retried := robot.post("/webhooks/deliveries/"+broken+"/retry", nil).is(200)
	c.becomes(broken, "delivered")
	tested := robot.post(also.path()+"/test", nil).is(200)
	mine := object{"id": "mine-1", "event": "media.processing.failed", "data": object{"n": 1}}
	for range 3 {
		c.post("/events", mine).is(202)
	}
	mine["data"] = object{"n": 2}
	if again := c.post("/events", mine); again.status != 202 && again.status != 409 { // where the node knows, it says so
		again.is(202)
	}

	ask := func(n int) [][]string {
		t.Helper()
		sql := strings.NewReplacer("'acme'", "'"+t.Name()+"'", "wh_i1rc1fuiian5d5hv3cad9b4g3g", h.id, "evt_06h0lie4hablsj7dquvrcbognc", second,
			"del_06h0lie4ha87dg5v7k7vqugfec", broken, "key_06h0n1ecja1uidfnjl3s3kfdec", key.str("key_id")).Replace(questions[n-1])
		var rows [][]string
		for line := range strings.Lines(s.ok(t, "", "sql", "--format", "TSV", sql)) {
			rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
		return rows
	}
	id := func(a *answer) string { return a.header.Get("X-Request-ID") }
	delivery := func(event, webhook string) string {
		list, _ := c.get("/events/" + event).is(200).value("deliveries").([]any)
		for _, d := range list {
			if d, _ := d.(map[string]any); d["webhook_id"] == webhook {
				return fmt.Sprint(d["delivery_id"])
			}
		}
		return ""
	}
	byID := [][]string{{h.id, now.URL(), delivery(second, h.id), "delivered", "*"}, {also.id, was.URL(), delivery(second, also.id), "delivered", "*"}}
	if also.id < h.id {
		byID[0], byID[1] = byID[1], byID[0]
	}
	for n, want := range [][][]string{
		{{"*", "api_key", key.str("key_id"), id(moved), was.URL(), now.URL()}},
		{
			{"1", was.URL(), "*", "*", "*", first, "*"},
			{"2", now.URL(), "*", "*", id(moved), second, "*"},
			{"4", now.URL(), "*", "*", "*", third, "*"},
			{"4", now.URL(), "*", "*", "*", failing, "*"},
		},
		byID,
		{{"1", "*", now.URL(), "http_status", "500", "broken", "false"}, {"2", "*", now.URL(), "delivered", "200", "fine", "false"}},
		{{"*", "mine-1", "media.processing.failed", "*"}},
		{{"mine-1", "1", "2"}},
		{{"*", "retry_asked", h.id, broken, key.str("key_id"), id(retried)}, {"*", "test", also.id, "", key.str("key_id"), id(tested)}},
		{
			{"*", "webhook_updated", h.id, "applied", id(moved)},
			{"*", "retry_asked", broken, "none", id(retried)},
			{"*", "test", also.id, "delivered", id(tested)},
		},
		{{"3", "*", "*", "0"}},
	} {
		eventually(t, fmt.Sprintf("the answer to question %d", n+1), func() error { return same(ask(n+1), want) })
	}
	whole := ask(10)
	for _, row := range whole {
		if row[2] != "0" || row[3] != "0" {
			t.Errorf("of partition %s the first is %s, and %s are missing", row[0], row[2], row[3])
		}
	}
	if len(whole) == 0 || elsewhere.id == "" {
		t.Error("no partition of config has records")
	}
}

// same compares rows; * is any value but none.
func same(got, want [][]string) error {
	fault := fmt.Errorf("got %q, want %q", got, want)
	if len(got) != len(want) {
		return fault
	}
	for i := range want {
		if len(got[i]) != len(want[i]) {
			return fault
		}
		for j, w := range want[i] {
			if w == "*" && got[i][j] == "" || w != "*" && got[i][j] != w {
				return fault
			}
		}
	}
	return nil
}
