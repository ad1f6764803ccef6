package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/consumers/router"
	"hookledger/consumers/sender/receivertest"
	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/datadir"
	"hookledger/ledger"
)

var repairAll = flag.Bool("repair.all", false, "TestRepair goes through every kind of damage, not only some")

// damaged is a data folder that is damaged again and again.
type damaged struct {
	t      *testing.T
	dir    string
	r      *receivertest.Receiver
	ill    atomic.Bool // the receiver fails
	s      *server
	c      *caller
	token  string
	hooks  []hook
	events []string // acknowledged
}

// Each error that names `hookledger repair`, made true: the log is brought into
// that state, `serve` says so, `repair --dry-run` says what it would do and
// changes nothing, `repair` does it, and then every acknowledged event is
// delivered to every webhook that was there for it. All of it:
//
//	go test ./cmd/hookledger -run 'TestRepair$' -repair.all -v
func TestRepair(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	d := &damaged{t: t, dir: newDataDir(t)}
	d.r = receiver(t, func(*receivertest.Request) receivertest.Answer {
		if d.ill.Load() {
			return receivertest.Answer{Status: 500}
		}
		return receivertest.Answer{}
	})
	d.serve("")
	d.token = d.s.ok(t, "", "token --life 24h --account repair")
	d.caller()
	for range 6 { // over the partitions
		d.hooks = append(d.hooks, d.c.webhook(d.r.URL()))
	}
	d.publish(8)
	d.delivered()
	d.stop()
	if got := d.repair(t, "--dry-run"); got.code != 0 || !strings.Contains(got.out, "Nothing to repair") {
		t.Fatalf("a sound log: %d %s%s", got.code, got.out, got.err)
	}

	for _, one := range []struct {
		quick bool // also without -repair.all
		name  string
		roles string // under which events are published, and not done with
		ill   bool   // their receiver fails: they wait
		harm  func(ctx context.Context, log *ledger.Log, admin *kadm.Client) error
		says  string
	}{
		{true, "the router has no commit", "api", false, func(ctx context.Context, _ *ledger.Log, admin *kadm.Client) error {
			_, err := admin.DeleteGroup(ctx, "hl."+router.Group)
			return err
		}, "but no commit of the group router"},
		{false, "the router's commit is beyond the end", "api,historian", false, func(ctx context.Context, log *ledger.Log, _ *kadm.Client) error {
			ends, err := log.Ends(ctx, ledger.Events)
			for p := range ends {
				ends[p] += 3
			}
			if err != nil {
				return err
			}
			// What is not routed yet would be passed over: only what is left of it is wrong.
			commits, err := log.Committed(ctx, router.Group, ledger.Events)
			for p, end := range ends {
				if commits[p] < end-3 {
					delete(ends, p)
				}
			}
			if err != nil || len(ends) == 0 {
				return fmt.Errorf("no partition is routed to its end: %w", err)
			}
			return log.CommitAs(ctx, router.Group, map[ledger.Topic]map[int32]int64{ledger.Events: ends})
		}, "it ends at"},
		{false, "events were trimmed before they were routed", "api,historian", false, func(ctx context.Context, log *ledger.Log, _ *kadm.Client) error {
			return trimToEnd(ctx, log, ledger.Events)
		}, "nothing of it is routed before"},
		{true, "lanes has no checkpoint", "", true, func(ctx context.Context, log *ledger.Log, _ *kadm.Client) error {
			for p := range log.Partitions(ledger.Lanes) {
				if _, err := log.Append(ctx, ledger.Record{Topic: ledger.Lanes, Partition: p, Value: []byte("neither this nor that")}); err != nil {
					return err
				}
			}
			return trimToEnd(ctx, log, ledger.Lanes)
		}, "it has no checkpoint"},
		// The one that serve can't see: what waited is gone with its records, and the
		// checkpoint's floors don't speak of it. The history knows.
		{false, "lanes was trimmed above what waits", "", true, func(ctx context.Context, log *ledger.Log, _ *kadm.Client) error {
			return trimToEnd(ctx, log, ledger.Lanes)
		}, ""},
		{false, "deliveries was trimmed above what is settled", "api,router,historian", false, func(ctx context.Context, log *ledger.Log, _ *kadm.Client) error {
			return trimToEnd(ctx, log, ledger.Deliveries)
		}, "which is not settled"},
		{false, "attempts was trimmed above its floor", "", true, func(ctx context.Context, log *ledger.Log, _ *kadm.Client) error {
			for p := range log.Partitions(ledger.Attempts) {
				if _, err := log.Append(ctx, ledger.Record{Topic: ledger.Attempts, Partition: p, Value: []byte("neither")},
					ledger.Record{Topic: ledger.Attempts, Partition: p, Value: []byte("nor")}); err != nil {
					return err
				}
			}
			return trimToEnd(ctx, log, ledger.Attempts)
		}, "hookledger repair"},
	} {
		if !one.quick && !*repairAll {
			continue
		}
		if !t.Run(one.name, func(t *testing.T) { d.round(t, one.roles, one.ill, one.harm, one.says) }) {
			return
		}
	}
	t.Run("an older backup under a newer history", d.restored)
}

// round is one damage, and its repair.
func (d *damaged) round(t *testing.T, roles string, ill bool, harm func(context.Context, *ledger.Log, *kadm.Client) error, says string) {
	d.t = t
	d.ill.Store(ill)
	d.serve(roles)
	d.caller()
	n := 12
	if ill {
		n = 3 // fewer failures than open a breaker, which would take its time
	}
	d.publish(n)
	switch {
	case ill:
		for _, e := range d.events[len(d.events)-n:] {
			d.c.deliveries(e, len(d.hooks), "retrying")
		}
	case strings.Contains(roles, "router"):
		for _, e := range d.events[len(d.events)-n:] {
			d.c.deliveries(e, len(d.hooks), "pending")
		}
	case strings.Contains(roles, "historian"):
		for _, e := range d.events[len(d.events)-n:] {
			eventually(t, "the history to have "+e, func() error {
				if a := d.c.get("/events/" + e); a.status != 200 {
					return fmt.Errorf("%d", a.status)
				}
				return nil
			})
		}
	}
	d.stop()
	if strings.Contains(says, "it ends at") { // routed to the end, and then its commit is wrong
		d.serve("")
		d.caller()
		d.delivered()
		d.stop()
	}
	d.open(func(ctx context.Context, log *ledger.Log, admin *kadm.Client) error { return harm(ctx, log, admin) })
	d.mended(t, says, "")
}

// mended sees serve refuse, repair say what it would do, do it, and serve go on.
// Left is what no repair mends, and says so each time.
func (d *damaged) mended(t *testing.T, says, left string) {
	if says != "" {
		d.refused(t, says)
	}
	before := d.state()
	dry := d.repair(t, "--dry-run")
	if dry.code != 1 || !strings.Contains(dry.out, "to do: ") || !strings.Contains(dry.out, "Nothing was changed") {
		t.Fatalf("repair --dry-run ended with %d: %s%s", dry.code, dry.out, dry.err)
	}
	if after := d.state(); after != before {
		t.Errorf("repair --dry-run changed the log:\n%s\n%s", before, after)
	}
	got := d.repair(t)
	code, then := 0, "Nothing to repair"
	if left != "" {
		code, then = 1, left
	}
	if got.code != code || !strings.Contains(got.out, "Mended") {
		t.Fatalf("repair ended with %d: %s%s", got.code, got.out, got.err)
	}
	if again := d.repair(t); again.code != code || !strings.Contains(again.out, then) || strings.Contains(again.out, "to do: ") {
		t.Errorf("repair once more: %d %s%s\nafter %s", again.code, again.out, again.err, got.out)
	}
	t.Log(got.out)
	d.ill.Store(false)
	d.serve("")
	d.caller()
	d.publish(4)
	d.delivered()
	j := &judge{t: t, s: d.s}
	if rows := j.ask("SELECT actor_id FROM config_changes FINAL WHERE account = 'hookledger' AND change = 'call_started' AND state LIKE '%repair%'"); len(rows) == 0 || !strings.Contains(rows[0][0], "@") {
		t.Errorf("the audit trail has %v of the repair", rows)
	}
	d.stop()
}

// refused sees serve say what is wrong, and repair only look beside it.
func (d *damaged) refused(t *testing.T, says string) {
	s, err := launch(d.dir, openFlags...)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "serve to say what is wrong", func() error {
		log, _ := os.ReadFile(s.err)
		if !strings.Contains(string(log), says) || !strings.Contains(string(log), "hookledger repair") {
			return fmt.Errorf("it says %s", s.tail())
		}
		return nil
	})
	// Of the router's and the historian's errors the program ends; a partition of
	// the dispatcher stands still, and the rest goes on.
	if log, _ := os.ReadFile(s.err); strings.Contains(string(log), "stands still") {
		eventually(t, "repair to look beside the server", func() error {
			if got := d.repair(t); got.code != 1 || !strings.Contains(got.out, "A server is running") {
				return fmt.Errorf("%d %s%s", got.code, got.out, got.err)
			}
			return nil
		})
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
	}
	<-s.exited
	_ = s.guard.Close()
}

// restored puts an older copy of the broker's folder under a newer history.
func (d *damaged) restored(t *testing.T) {
	d.t = t
	backup := filepath.Join(filepath.Dir(d.dir), "backup")
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(d.dir, "broker"))); err != nil {
		t.Fatal(err)
	}
	d.serve("")
	d.caller()
	d.publish(10)
	d.delivered()
	sent := d.counted()
	late := d.c.webhook(d.r.URL(), object{"name": "lost with the log"})
	d.ill.Store(true)
	d.publish(3)
	for _, e := range d.events[len(d.events)-3:] {
		d.c.deliveries(e, len(d.hooks)+1, "retrying")
	}
	d.stop()
	if err := os.RemoveAll(filepath.Join(d.dir, "broker")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(d.dir, "broker"), os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	d.mended(t, "hookledger repair", late.id) // whose facts are gone: it is named
	// What had been delivered before the log was lost is not sent again.
	for delivery, n := range d.counted() {
		if was, ok := sent[delivery]; ok && n != was {
			t.Errorf("delivery %s was delivered %d times before the restore, and %d after it", delivery, was, n)
		}
	}
}

// counted is how often each delivery was taken.
func (d *damaged) counted() map[string]int {
	n := map[string]int{}
	for _, q := range d.r.Requests() {
		n[q.Header("X-Delivery-ID")]++
	}
	return n
}

func (d *damaged) serve(roles string) {
	d.t.Helper()
	flags := append(slices.Clone(openFlags), "--retry-schedule", "1h,1h")
	if roles != "" {
		flags = append(flags, "--roles", roles)
	}
	d.s = startServer(d.t, d.dir, flags...)
}

func (d *damaged) caller() {
	if d.token != "" {
		d.c = d.s.as(d.t, d.token)
		for i := range d.hooks {
			d.hooks[i].c = d.c
		}
	}
}

func (d *damaged) stop() {
	d.t.Helper()
	if err := d.s.stop(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *damaged) publish(n int) {
	d.t.Helper()
	for range n {
		d.events = append(d.events, d.c.publish())
	}
}

// delivered waits until every webhook has taken every acknowledged event. What
// waits for a receiver that was ill is not due for an hour: it is asked for.
func (d *damaged) delivered() {
	d.t.Helper()
	for _, h := range d.hooks {
		for i := range d.c.get(h.path() + "/deliveries?status=retrying&limit=100").is(200).list() {
			id := d.c.get(h.path() + "/deliveries?status=retrying&limit=100").is(200).str(fmt.Sprintf("%d.delivery_id", i))
			if id != "" {
				d.c.post("/webhooks/deliveries/"+id+"/retry", nil)
			}
		}
	}
	eventually(d.t, "every event at every webhook", func() error {
		type key struct{ webhook, event string }
		has := map[key]bool{}
		for _, q := range d.r.Requests() {
			for _, e := range d.events {
				if strings.Contains(string(q.Body()), `"id":"`+e+`"`) {
					has[key{q.Header("X-Webhook-ID"), e}] = true
				}
			}
		}
		missing := 0
		for _, h := range d.hooks {
			for _, e := range d.events {
				if !has[key{h.id, e}] {
					missing++
				}
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d are missing", missing)
		}
		return nil
	})
}

// open gives a test the log of a stopped server.
func (d *damaged) open(do func(context.Context, *ledger.Log, *kadm.Client) error) {
	d.t.Helper()
	dir, err := datadir.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	b, err := broker.Start(d.t.Context(), broker.Options{Dir: dir})
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			d.t.Error(err)
		}
	}()
	log, err := ledger.Open(d.t.Context(), ledger.Options{Client: b.ClientOpts(), Settings: ledger.EmbeddedSettings("hl."), Sync: b.Sync})
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	client, err := kgo.NewClient(b.ClientOpts()...)
	if err != nil {
		d.t.Fatal(err)
	}
	defer client.Close()
	if err := do(d.t.Context(), log, kadm.NewClient(client)); err != nil {
		d.t.Fatal(err)
	}
}

// state is the bounds of every partition, and the commits.
func (d *damaged) state() (text string) {
	d.t.Helper()
	d.open(func(ctx context.Context, log *ledger.Log, _ *kadm.Client) error {
		for _, topic := range ledger.AllTopics {
			starts, err := log.Starts(ctx, topic)
			if err != nil {
				return err
			}
			ends, err := log.Ends(ctx, topic)
			if err != nil {
				return err
			}
			text += fmt.Sprint(topic, starts, ends)
		}
		commits, err := log.Committed(ctx, router.Group, ledger.Events)
		text += fmt.Sprint(commits)
		return err
	})
	return text
}

func (d *damaged) repair(t *testing.T, flags ...string) result {
	t.Helper()
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	return hookledger(t, "", append([]string{"repair", "--data-dir", d.dir, "--engine-lib", lib}, flags...)...)
}

// trimToEnd deletes all but the last record of every partition of a topic.
func trimToEnd(ctx context.Context, log *ledger.Log, topic ledger.Topic) error {
	ends, err := log.Ends(ctx, topic)
	if err != nil {
		return err
	}
	for p, end := range ends {
		if end > 0 {
			if err := log.Trim(ctx, topic, p, end-1); err != nil {
				return err
			}
		}
	}
	return log.Synced(ctx)
}
