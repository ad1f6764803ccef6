package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"hookledger/consumers/sender/receivertest"
	"hookledger/deploy/embedded/datadir"
)

// rebuildKills kills at more places: go test ./cmd/hookledger -run RebuildChanges -rebuild.kills -timeout 30m.
var rebuildKills = flag.Bool("rebuild.kills", false, "kill rebuilds at every step")

// ofTheMoment is what an answer says of its own request: when figures were asked
// for, and which request it was.
var ofTheMoment = regexp.MustCompile(`"stats_as_of":"[^"]*"|"request_id":"req_[^"]*"`)

// requests is every request that reads the account's state, each page of each
// list with the cursor that was handed out for it.
func (c *caller) requests(hooks []hook, events []string) []string {
	c.t.Helper()
	all := []string{"/webhooks", "/webhooks?limit=2", "/webhooks/events", "/api-keys"}
	for _, h := range hooks {
		all = append(all, h.path(), h.path()+"/deliveries", h.path()+"/deliveries?limit=2", h.path()+"/deliveries?status=delivered&limit=1",
			h.path()+"/deliveries?status=pending", h.path()+"/deliveries?status=failed")
	}
	for _, e := range events {
		all = append(all, "/events/"+e, "/events/"+e+"?limit=1")
	}
	all = append(all, figures(hooks, time.Now().UTC().Truncate(time.Second).Add(time.Second))...)
	all = append(all, "/audit/changes", "/audit/changes?limit=2")
	for _, h := range hooks {
		all = append(all, "/audit/changes?limit=1&webhook_id="+h.id)
	}
	link := regexp.MustCompile(`<[^>]*(/api/v2/[^>]*)>; rel="next"`)
	delivery := regexp.MustCompile(`"delivery_id":"(del_[0-9a-v]+)"`)
	for i := 0; i < len(all); i++ {
		a := c.get(all[i])
		if m := link.FindStringSubmatch(a.header.Get("Link")); m != nil {
			all = append(all, m[1])
		}
		for _, m := range delivery.FindAllSubmatch(a.body, -1) {
			one := "/webhooks/deliveries/" + string(m[1])
			if !slices.Contains(all, one) {
				all = append(all, one, one+"/attempts", one+"/attempts?limit=1")
			}
		}
	}
	return all
}

// figures asks for the figures up to a time, by every filter, bucket and group.
// The range is given whole, so that it stays the same whenever it is asked for.
func figures(hooks []hook, to time.Time) []string {
	closed := func(path string, length time.Duration, pairs ...string) string {
		pairs = append(pairs, "from", to.Add(-length).Format(time.RFC3339), "to", to.Format(time.RFC3339))
		return query(path, pairs...)
	}
	var all []string
	for _, path := range []string{"/analytics/deliveries", "/analytics/attempts"} {
		all = append(all, closed(path, time.Hour), closed(path, time.Hour, "bucket", "minute"), closed(path, 30*time.Hour, "bucket", "hour", "group_by", "webhook"),
			closed(path, 70*24*time.Hour, "bucket", "day", "time_zone", "Europe/Berlin"), closed(path, 24*time.Hour, "bucket", "hour", "time_zone", "Asia/Kathmandu", "group_by", "event"),
			closed(path, time.Hour, "event", "export.ready"), closed(path, time.Hour, "event", "media.created"))
		for _, h := range hooks {
			all = append(all, closed(path, 2*time.Hour, "webhook_id", h.id))
		}
	}
	for _, status := range []string{"pending", "retrying", "delivered", "failed"} {
		all = append(all, closed("/analytics/deliveries", time.Hour, "status", status))
	}
	for _, outcome := range []string{"delivered", "http_status"} {
		all = append(all, closed("/analytics/attempts", 26*time.Hour, "outcome", outcome, "group_by", "webhook"))
	}
	return all
}

// readings is what is answered to requests: status, whether there is a next
// page, and the body. The next page's cursor is of the moment; that it leads to
// the same page is shown by following the ones that were handed out first.
func (c *caller) readings(requests []string) (map[string]string, error) {
	all := make(map[string]string)
	for _, path := range requests {
		a, err := c.try("GET", path, nil)
		if err != nil {
			return nil, err
		}
		all[path] = fmt.Sprintf("%d\nnext page: %v\n%s", a.status, a.header.Get("Link") != "", ofTheMoment.ReplaceAll(a.body, []byte("-")))
	}
	return all, nil
}

// past gives an account one of everything that the history can show.
func (c *caller) past(t *testing.T) (hooks []hook, events []string) {
	t.Helper()
	good := receiver(t, nil)
	bad := receiver(t, func(*receivertest.Request) receivertest.Answer {
		return receivertest.Answer{Status: 500, Body: "not now\xff"}
	})
	hooks = []hook{
		c.webhook(good.URL(), object{"metadata": object{"team": "a"}}), c.webhook(bad.URL()), c.webhook(good.URL()), c.webhook(good.URL()),
	}
	paused, deleted := hooks[2], hooks[3]
	for range 3 {
		events = append(events, c.publish())
	}
	for _, e := range events {
		c.deliveries4(e)
	}
	c.patch(paused.path(), object{"status": "paused"}).is(200)
	c.delete(deleted.path()).is(200)
	e := c.publish(object{"id": t.Name() + "-held", "data": object{"html": "<&>", "n": 1.50}})
	events = append(events, e)
	eventually(t, "what is held", func() error {
		a := c.get("/events/" + e)
		if list, _ := a.value("deliveries").([]any); a.status != 200 || len(list) != 3 || strings.Contains(string(a.body), `"attempts":0`) && strings.Count(string(a.body), `"attempts":0`) > 1 {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
	c.post(hooks[1].path()+"/test", nil).is(200)
	retried := c.get(hooks[1].path() + "/deliveries").is(200).str("0.delivery_id")
	c.post("/webhooks/deliveries/"+retried+"/retry", nil).is(200)
	eventually(t, "the retry", func() error {
		if a := c.get("/webhooks/deliveries/" + retried).is(200); a.num("attempts") < 2 {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
	c.post(hooks[0].path()+"/rotate-secret", nil).is(200)
	c.post("/api-keys", object{"name": "k"}).is(201)
	return hooks, events
}

// deliveries4 waits until each of an event's four deliveries was tried.
func (c *caller) deliveries4(event string) {
	c.t.Helper()
	eventually(c.t, "four deliveries", func() error {
		a := c.get("/events/" + event)
		if list, _ := a.value("deliveries").([]any); a.status != 200 || len(list) != 4 || strings.Contains(string(a.body), `"attempts":0`) {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
}

// settledReadings are the readings once two in a row are alike: figures follow
// the attempts by seconds.
func (c *caller) settledReadings(requests []string) map[string]string {
	c.t.Helper()
	var last map[string]string
	eventually(c.t, "answers that stay as they are", func() error {
		before := last
		var err error
		if last, err = c.readings(requests); err != nil {
			return err
		}
		time.Sleep(1200 * time.Millisecond) // longer than figures are kept
		if !maps.Equal(before, last) {
			return fmt.Errorf("%s", gocmp.Diff(before, last))
		}
		return nil
	})
	return last
}

// Every answer that reads is the same byte by byte before, while and after the
// history is made again beside other accounts' traffic, and after rebuilds that
// were killed.
func TestRebuildChangesNoAnswer(t *testing.T) {
	s := startServer(t, "", append(slices.Clone(openFlags), "--retry-schedule", "1h,1h", "--fsync", "none")...)
	c := s.account(t)
	hooks, events := c.past(t)
	requests := c.requests(hooks, events)
	want := c.settledReadings(requests)
	if len(want) < 100 {
		t.Fatalf("only %d answers are compared", len(want))
	}
	for path, answer := range want {
		figure, change := strings.HasPrefix(path, "/analytics/"), strings.HasPrefix(path, "/audit/")
		if (figure || change) && !strings.HasPrefix(answer, "200\n") {
			t.Errorf("%s: %s", path, answer)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	busy := s.as(t, s.ok(t, "", "token", "--account", t.Name()+"-busy", "--scopes", "admin"))
	busy.webhook(receiver(t, nil).URL())
	loading, watching := make(chan struct{}), make(chan struct{})
	published := 0
	go func() {
		defer close(loading)
		batch := `[{"event":"export.ready","data":{"n":1}},{"event":"export.ready","data":{"n":2}}]`
		for ctx.Err() == nil {
			if a, err := busy.try("POST", "/events", batch); err == nil && a.status == 202 {
				published += 2
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	rounds := 0
	go func() {
		defer close(watching)
		for ctx.Err() == nil {
			got, err := c.readings(requests)
			if err != nil {
				t.Error(err)
				return
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("meanwhile (-before +now):\n%s", diff)
				return
			}
			rounds++
		}
	}()

	kills := []string{"verifying"}
	if *rebuildKills {
		kills = []string{"reading the log", "adding up the hours", "catching up", "verifying"}
	}
	for _, at := range kills {
		s.killedAt(t, at)
	}
	said := s.ok(t, "", "rebuild")
	if !strings.Contains(said, "is live; before it was hookledger.") {
		t.Errorf("rebuild said %s", said)
	}
	s.ok(t, "", "verify --wait 30s")
	if again := s.ok(t, "", "rebuild --drop-old"); strings.Contains(again, "Kept") {
		t.Errorf("rebuild --drop-old said %s", again)
	}
	cancel()
	<-loading
	<-watching
	if rounds == 0 {
		t.Error("no answer was compared meanwhile")
	}
	t.Logf("%d answers compared %d times beside %d events", len(want), rounds, published)
	if diff := gocmp.Diff(want, c.settledReadings(requests)); diff != "" {
		t.Errorf("afterwards (-before +after):\n%s", diff)
	}

	// Nothing of the other account is lost, in a history that was made meanwhile.
	eventually(t, "all deliveries", func() error {
		got := s.ok(t, "", "sql --format TSV", fmt.Sprintf("SELECT countIf(status = 'delivered') FROM deliveries FINAL WHERE account = '%s-busy'", t.Name()))
		if got != fmt.Sprint(published) {
			return fmt.Errorf("%s of %d", got, published)
		}
		return nil
	})
	report := s.ok(t, "", "verify --json")
	if !strings.Contains(report, `"equal": true`) {
		t.Errorf("verify: %s", report)
	}
	if databases := s.ok(t, "", "sql --format TSV", "SELECT groupArray(name) FROM system.databases WHERE startsWith(name, 'hookledger_')"); databases != fmt.Sprintf("['hookledger_%d']", 3+len(kills)) {
		t.Errorf("databases: %s", databases)
	}

	// Without a server, and then with one again.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.ok(t, "", "rebuild")
	s.ok(t, "", "verify --wait 1s")
	after := startServer(t, s.dir, append(slices.Clone(openFlags), "--retry-schedule", "1h,1h", "--fsync", "none")...)
	c.server = after
	if diff := gocmp.Diff(want, c.settledReadings(requests)); diff != "" {
		t.Errorf("after a rebuild without a server (-before +after):\n%s", diff)
	}
}

// killedAt runs a rebuild and kills it when it says that it is somewhere.
func (s *server) killedAt(t *testing.T, where string) {
	t.Helper()
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := program("rebuild", "--data-dir", s.dir, "--engine-lib", lib)
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewReader(pipe); ; {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if strings.Contains(line, where) {
			_ = cmd.Process.Kill()
			break
		}
		if err != nil {
			t.Fatalf("the rebuild never said %q: %s", where, said.String())
		}
	}
	_, _ = io.Copy(io.Discard, pipe)
	_ = cmd.Wait() // it was killed
}

func TestVerifyExitCodes(t *testing.T) {
	s := startServer(t, "", append(slices.Clone(openFlags), "--fsync", "none")...)
	c := s.account(t)
	c.webhook(receiver(t, nil).URL())
	c.delivery(c.publish(), "delivered")
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	verify := func(args ...string) result {
		return hookledger(t, "", append([]string{"verify", "--data-dir", s.dir, "--engine-lib", lib}, args...)...)
	}
	if got := verify(); got.code != 0 || !strings.Contains(got.out, "Equal:") {
		t.Errorf("equal: %+v", got)
	}
	if got := hookledger(t, "", "verify", "--data-dir", s.dir+"-none"); got.code != 2 || !strings.Contains(got.err, "hookledger serve") {
		t.Errorf("no folder: %+v", got)
	}
	if got := verify("--wat"); got.code != 2 {
		t.Errorf("a wrong flag: %+v", got)
	}
	s.service(t, "ALTER TABLE hookledger.attempts UPDATE status_code = 500 WHERE 1 SETTINGS mutations_sync = 2")
	got := verify()
	if got.code != 1 || !strings.Contains(got.out, `attempts: differs attempts/`) || !strings.Contains(got.out, `status_code is "500", the log says "200"`) {
		t.Errorf("different: %+v", got)
	}
	if got := verify("--json"); got.code != 1 || !strings.Contains(got.out, `"equal": false`) {
		t.Errorf("different, as JSON: %+v", got)
	}
	s.ok(t, "", "rebuild --drop-old")
	if got := verify(); got.code != 0 {
		t.Errorf("after a rebuild: %+v", got)
	}
}

// service runs a statement on the server's engine as the service itself.
func (s *server) service(t *testing.T, statement string) {
	t.Helper()
	served, err := datadir.ReadServing(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+served.Engine.Addr+"/", strings.NewReader(statement))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(userService, served.Engine.Users[userService].Reveal())
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", statement, resp.StatusCode, body)
	}
}
