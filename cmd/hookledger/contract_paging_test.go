package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
	"hookledger/ledger/secrets"
)

var nextLink = regexp.MustCompile(`^<(/api/v2[^>]+)>; rel="next"$`)

// walk reads a list page by page, following Link, and returns what field says of
// each row. Between two pages it calls meanwhile.
func (c *caller) walk(path, field string, meanwhile func(page int)) []string {
	c.t.Helper()
	var all []string
	for page := 0; ; page++ {
		if page == 100 {
			c.t.Fatalf("%s has no end", path)
		}
		a := c.read(path)
		rows := a.value("")
		prefix := ""
		if _, single := rows.(map[string]any); single { // an event with its deliveries
			prefix = "deliveries."
			rows = a.value("deliveries")
		}
		for i := range rows.([]any) {
			all = append(all, a.str(fmt.Sprintf("%s%d.%s", prefix, i, field)))
		}
		cursor, link := a.header.Get("X-Next-Cursor"), a.header.Get("Link")
		if cursor == "" && link == "" {
			return all
		}
		m := nextLink.FindStringSubmatch(link)
		if m == nil || !strings.Contains(m[1], "cursor="+cursor) {
			c.t.Fatalf("Link is %q, X-Next-Cursor %q", link, cursor)
		}
		path = m[1]
		if meanwhile != nil {
			meanwhile(page)
		}
	}
}

// delivered publishes n events at once, and returns the deliveries to a webhook
// when they are delivered.
func (c *caller) delivered(h hook, n int) []string {
	c.t.Helper()
	var batch []object
	for i := range n {
		batch = append(batch, object{"event": "export.ready", "data": object{"n": i}})
	}
	c.post("/events", batch).is(202)
	var all []string
	eventually(c.t, fmt.Sprintf("%d deliveries", n), func() error {
		if all = c.walk(h.path()+"/deliveries?limit=100&status=delivered", "delivery_id", nil); len(all) < n {
			return fmt.Errorf("%d are delivered", len(all))
		}
		return nil
	})
	return all
}

// exactlyOnce checks that a walk met each of these once, and nothing twice.
func exactlyOnce(t *testing.T, walked, there []string) {
	t.Helper()
	seen := map[string]int{}
	for _, id := range walked {
		if seen[id]++; seen[id] == 2 {
			t.Errorf("%s comes twice", id)
		}
	}
	for _, id := range there {
		if seen[id] == 0 {
			t.Errorf("%s was there all the while and does not come", id)
		}
	}
}

// Deliveries: what is there all the while comes exactly once, newest first,
// though deliveries are inserted between the pages.
func TestContractPagingDeliveries(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := receiver(t, nil)
	h := c.webhook(r.URL())
	there := c.delivered(h, 17)
	for _, limit := range []int{1, 4, 17, 100} {
		inserted := 0
		walked := c.walk(fmt.Sprintf("%s/deliveries?limit=%d&status=delivered", h.path(), limit), "delivery_id", func(int) {
			if inserted++; inserted <= 3 {
				c.delivery(c.publish(), "delivered")
			}
		})
		exactlyOnce(t, walked, there)
		if !slices.IsSortedFunc(walked, func(a, b string) int { return strings.Compare(b, a) }) {
			t.Errorf("by %d it is not newest first: %v", limit, walked)
		}
	}
	if all := c.walk(h.path()+"/deliveries?limit=5", "delivery_id", nil); len(all) != r.Count() {
		t.Errorf("a walk of all deliveries has %d, want %d", len(all), r.Count())
	}
}

// Under a filter: what has the status all the while comes exactly once, what
// changes between two pages at most once, as it was when its page was read.
func TestContractPagingUnderFilter(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	// One of four fails at its first try, so that the breaker stays closed.
	var mu sync.Mutex
	tried := map[string]bool{}
	r := receiver(t, func(q *receivertest.Request) receivertest.Answer {
		mu.Lock()
		defer mu.Unlock()
		if id := q.Header("X-Delivery-ID"); strings.Contains(string(q.Body()), "refuse me") && !tried[id] {
			tried[id] = true
			return receivertest.Answer{Status: 500}
		}
		return receivertest.Answer{}
	})
	h := c.webhook(r.URL())
	refused := object{"event": "export.ready", "data": object{"please": "refuse me"}}
	accepted := object{"event": "export.ready", "data": object{}}
	var batch []object
	for range 12 {
		batch = append(batch, accepted, refused, accepted, accepted)
	}
	c.post("/events", batch).is(202)
	var retrying []string // newest last
	eventually(t, "all to be tried", func() error {
		if retrying = c.walk(h.path()+"/deliveries?status=retrying", "delivery_id", nil); len(retrying) != 12 {
			return fmt.Errorf("%d are retrying", len(retrying))
		}
		return nil
	})
	slices.Reverse(retrying)
	changed := map[string]bool{}
	rows := map[string]string{}
	path := h.path() + "/deliveries?status=retrying&limit=3"
	walked := c.walk(path, "delivery_id", func(page int) {
		// The newest is on a page that was read, the oldest on one to come.
		for _, id := range []string{retrying[len(retrying)-1-page], retrying[page]} {
			if !changed[id] {
				changed[id] = true
				c.retry(id).is(200)
				c.becomes(id, "delivered")
			}
		}
		c.delivery(c.publish(refused), "retrying") // and new ones come
	})
	for _, id := range walked {
		rows[id] = "retrying"
	}
	var untouched []string
	for _, id := range retrying {
		if !changed[id] {
			untouched = append(untouched, id)
		}
	}
	exactlyOnce(t, walked, untouched)
	if len(untouched) < 4 || len(changed) < 6 {
		t.Fatalf("%d changed between the pages, %d did not: nothing was tried", len(changed), len(untouched))
	}
	if rows[retrying[0]] != "" {
		t.Errorf("%s was delivered before its page was read, and is listed as retrying", retrying[0])
	}
	for _, status := range c.walk(h.path()+"/deliveries?limit=4&status=delivered", "status", nil) {
		if status != "delivered" {
			t.Errorf("a list of the delivered has one that is %s", status)
		}
	}
}

// Webhooks and API keys: creations and deletions between two pages neither hide
// nor repeat one that stays.
func TestContractPagingConfiguration(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	for _, list := range []struct {
		path, id string
		create   object
	}{
		{"/webhooks", "webhook_id", object{"name": "n", "url": "https://receiver.example/", "events": []string{"export.ready"}}},
		{"/api-keys", "key_id", object{"name": "k"}},
	} {
		create := func() string { return c.post(list.path, list.create).is(201).str(list.id) }
		var there []string
		for range 9 {
			there = append(there, create())
		}
		slices.Reverse(there) // newest first
		if all := c.walk(list.path, list.id, nil); !slices.Equal(all, there) {
			t.Errorf("%s without a limit: %v, want %v", list.path, all, there)
		}
		walked := c.walk(list.path+"?limit=2", list.id, func(page int) {
			create()
			switch page {
			case 0: // the last of the page that was read, and one to come
				c.delete(list.path + "/" + there[1]).is(200)
				c.delete(list.path + "/" + there[4]).is(200)
			case 1: // the first of the page to come
				c.delete(list.path + "/" + there[5]).is(200)
			}
		})
		stay := slices.DeleteFunc(slices.Clone(there), func(id string) bool { return id == there[1] || id == there[4] || id == there[5] })
		exactlyOnce(t, walked, stay)
		if want := append(slices.Clone(there[:2]), stay[1:]...); !slices.Equal(slices.Compact(walked), slices.Compact(want)) {
			t.Errorf("%s by pages: %v, want %v", list.path, walked, want)
		}
		for _, bad := range []string{"limit=0", "limit=1001", "limit=x"} {
			c.get(list.path+"?"+bad).fails(422, "validation_failed")
		}
	}
}

// Attempts, oldest first, and an event's deliveries: pages while more come.
func TestContractPagingAttempts(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := switchedReceiver(t)
	r.status(500)
	h := c.webhook(r.URL())
	id := c.failed(h)
	c.retry(id).is(200)
	c.retry(id).is(200)
	path := "/webhooks/deliveries/" + id + "/attempts"
	for _, limit := range []int{1, 2, 4, 100} {
		before := len(r.Requests())
		numbers := c.walk(fmt.Sprintf("%s?limit=%d", path, limit), "number", func(page int) {
			if page == 0 && limit < 4 {
				c.retry(id).is(200)
			}
		})
		want := make([]string, len(r.Requests()))
		for i := range want {
			want[i] = fmt.Sprint(i + 1)
		}
		if !slices.Equal(numbers, want) {
			t.Errorf("by %d the attempts are %v, there were %d and then %d", limit, numbers, before, len(want))
		}
	}
	c.get(path+"?limit=101").fails(422, "validation_failed")

	var hooks []string
	for range 5 {
		hooks = append(hooks, c.webhook(r.URL(), object{"events": []string{"media.created"}}).id)
	}
	event := c.publish(object{"event": "media.created"})
	c.deliveries(event, len(hooks), "retrying")
	walked := c.walk("/events/"+event+"?limit=2", "webhook_id", nil)
	exactlyOnce(t, walked, hooks)
	if len(walked) != len(hooks) {
		t.Errorf("the event's deliveries go to %v, want %v", walked, hooks)
	}
}

// A cursor that was forged, is of another list, or is outdated is 422, and says
// which.
func TestContractCursors(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	c := s.account(t)
	r := receiver(t, func(*receivertest.Request) receivertest.Answer { return receivertest.Answer{Status: 500} })
	h, other := c.webhook(r.URL()), c.webhook(r.URL())
	var event string
	for range 3 {
		event = c.publish()
		c.deliveries(event, 2, "retrying")
	}
	for range 3 {
		c.post("/api-keys", object{"name": "k"}).is(201)
	}
	list := c.get(h.path() + "/deliveries?limit=1").is(200)
	delivery, cursor := list.str("0.delivery_id"), list.header.Get("X-Next-Cursor")
	c.retry(delivery).is(200)
	refused := func(c *caller, path, cursor, why string) {
		t.Helper()
		a := c.get(path+"cursor="+cursor).fails(422, "validation_failed")
		if a.str("error.details.fields.0.field") != "cursor" || a.str("error.details.fields.0.in") != "query" || !strings.Contains(a.str("error.details.fields.0.message"), why) {
			t.Errorf("%s with the cursor %s: %s, want %q", path, cursor, a.body, why)
		}
	}
	lists := map[string]string{
		h.path() + "/deliveries?": "", h.path() + "/deliveries?status=retrying&": "", other.path() + "/deliveries?": "",
		"/webhooks?": "", "/api-keys?": "", "/webhooks/deliveries/" + delivery + "/attempts?": "", "/events/" + event + "?": "",
	}
	for path := range lists {
		lists[path] = c.get(path + "limit=1").is(200).header.Get("X-Next-Cursor")
		if lists[path] == "" {
			t.Fatalf("%s has no second page", path)
		}
	}
	for path, own := range lists {
		c.get(path + "cursor=" + own).is(200)
		c.get(path + "limit=2&cursor=" + own).is(200) // another limit is no other list
		for from, foreign := range lists {
			if from != path {
				refused(c, path, foreign, "another list")
			}
		}
		refused(c, path, delivery, "X-Next-Cursor")
		refused(c, path, "o1", "not a cursor")
		refused(c, path, own[:len(own)-2], "X-Next-Cursor")
		raw, err := base64.RawURLEncoding.DecodeString(own)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(raw); i += 5 { // in every part of it
			bent := slices.Clone(raw)
			bent[i] ^= 1
			refused(c, path, base64.RawURLEncoding.EncodeToString(bent), "X-Next-Cursor")
		}
	}
	// Another account's, for a list that both have.
	stranger := s.as(t, s.token(t, t.Name()+"/other", "admin"))
	refused(stranger, "/webhooks?", lists["/webhooks?"], "another list")

	// One that was given eight days ago.
	keys, err := secrets.Load(filepath.Join(s.dir, "keys", "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		t.Fatal(err)
	}
	for days, good := range map[int]bool{6: true, 8: false} {
		message := slices.Clone(raw[:len(raw)-secrets.CursorTagSize])
		binary.BigEndian.PutUint32(message[1:], uint32(time.Now().Add(-time.Duration(days)*24*time.Hour).Unix()))
		aged := base64.RawURLEncoding.EncodeToString(append(message, keys.CursorTag(message)...))
		if good {
			c.get(h.path() + "/deliveries?cursor=" + aged).is(200)
		} else {
			refused(c, h.path()+"/deliveries?", aged, "outdated")
		}
	}
}

// Every single resource has an entity tag, and 304 while it is the same.
func TestContractEntityTags(t *testing.T) {
	t.Parallel()
	c := common.get(t).account(t)
	r := switchedReceiver(t)
	r.status(500)
	h := c.webhook(r.URL())
	event := c.publish()
	delivery := c.delivery(event, "retrying")
	key := c.post("/api-keys", object{"name": "k"}).is(201).str("key_id")
	change := map[string]func(){
		h.path():                           func() { c.patch(h.path(), object{"name": "x"}).is(200) },
		"/webhooks/deliveries/" + delivery: func() { c.retry(delivery).is(200) },
		"/events/" + event:                 func() { c.retry(delivery).is(200) },
		"/api-keys/" + key:                 func() { c.post("/api-keys/"+key+"/revoke", nil).is(200) },
	}
	for path, change := range change {
		var tag string
		eventually(t, path+" to be the same for a while", func() error { // the figures of a try follow within a second
			tag = c.read(path).header.Get("ETag")
			if a := c.with("If-None-Match: " + tag).get(path); a.status != 304 || a.header.Get("ETag") != tag || len(a.body) > 0 {
				return fmt.Errorf("If-None-Match %s is answered %d, ETag %s, %s", tag, a.status, a.header.Get("ETag"), a.body)
			}
			return nil
		})
		c.with(`If-None-Match: "other", ` + tag).get(path).is(304)
		c.with("If-None-Match: *").get(path).is(304)
		c.with(`If-None-Match: "other"`).get(path).is(200)
		change()
		eventually(t, path+" to have another tag", func() error {
			if a := c.with("If-None-Match: " + tag).get(path); a.status != 200 || a.header.Get("ETag") == tag {
				return fmt.Errorf("%d, ETag %s", a.status, a.header.Get("ETag"))
			}
			return nil
		})
	}
}
