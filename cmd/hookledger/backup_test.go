package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// A backup is taken while the server works, the server dies, and another starts on
// what was restored: every event that was acknowledged before the backup began is
// there and delivered, what was in flight goes on, and nothing is invented.
func TestBackupUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a quarter of a minute")
	}
	dir := newDataDir(t)
	w := newWorld()
	stopping, stop := context.WithCancel(t.Context())
	defer stop()
	l := &load{t: t, w: w, stop: stopping}
	chance := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(7, n)) }
	r, err := receivertest.Start(receivertest.Options{Respond: l.respond(chance(1))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	l.receiver = r.URL()
	flags := append(append([]string{}, openFlags...), "--send-timeout", crashSendTimeout.String(), "--retry-schedule", "50ms,100ms,200ms,300ms,500ms,500ms,500ms,500ms")
	s := startServer(t, dir, flags...)
	l.c = s.as(t, s.ok(t, "", "token --life 24h --account crash"))
	l.base.Store(&s.base)
	for _, name := range []string{"one", "two"} {
		l.create(name, chance(2))
	}
	var working sync.WaitGroup
	for n := range 3 {
		working.Go(func() { l.publisher(n, chance(uint64(20+n))) })
	}
	eventually(t, "some work", func() error {
		if w.published() < 200 {
			return os.ErrNotExist
		}
		return nil
	})

	began := time.Now()
	archive := filepath.Join(filepath.Dir(dir), "backup.tar.gz")
	said := s.ok(t, "", "backup", "--to", archive)
	t.Logf("backup in %s: %s", time.Since(began).Round(time.Millisecond), said)
	if info, err := os.Stat(archive); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v, want mode 0600", info, err)
	}
	eventually(t, "more work", func() error {
		if w.published() < 300 {
			return os.ErrNotExist
		}
		return nil
	})
	stop()
	working.Wait()
	s.kill()

	again := filepath.Join(filepath.Dir(dir), "restored")
	if got := hookledger(t, "", "restore", "--from", archive, "--data-dir", again); got.code != 0 || !regexp.MustCompile(`hl\.events/\d: offsets 0 to \d+`).MatchString(got.out) {
		t.Fatalf("restore ended with %d: %s%s", got.code, got.out, got.err)
	}
	if got := hookledger(t, "", "restore", "--from", archive, "--data-dir", again); got.code != 1 || !strings.Contains(got.err, "not empty") {
		t.Errorf("a second restore to the same folder ended with %d: %s", got.code, got.err)
	}
	s = startServer(t, again, flags...)
	l.c.server = s
	l.base.Store(&s.base)
	acknowledged := 0
	j := &judge{t: t, w: w, s: s, l: l}
	eventually(t, "all that was acknowledged before the backup to be delivered", func() error {
		j.load()
		found := j.byPair()
		acknowledged = 0
		for _, e := range w.events {
			for _, sub := range w.subscribers {
				if !e.at.to.Before(began) || sub.should(e) != always {
					continue
				}
				acknowledged++
				if d := found[pair{sub.id, e.id}]; d == nil || d.status != "delivered" {
					return os.ErrNotExist
				}
			}
		}
		for _, d := range j.rows {
			if d.status == "pending" || d.status == "retrying" {
				return os.ErrNotExist
			}
		}
		return nil
	})
	known, seen := map[string]bool{}, map[string]bool{}
	for _, e := range w.events {
		known[e.id] = true
	}
	for _, q := range w.requests {
		seen[q.attempt] = true
	}
	for id, d := range j.rows {
		if !known[d.event] {
			t.Errorf("delivery %s is of event %s, which nobody published", id, d.event)
		}
		for _, a := range j.tries[id] {
			if a.kind == "attempt" && a.sent && !seen[a.id] {
				t.Errorf("attempt %s of delivery %s is recorded as sent, and the receiver never saw it", a.id, id)
			}
		}
	}
	t.Logf("%d deliveries of events acknowledged before the backup, all delivered; %d in all", acknowledged, len(j.rows))
	if left, _ := filepath.Glob(filepath.Join(dir, "backup-*")); len(left) > 0 {
		t.Errorf("the backup left %q in the data folder", left)
	}
}
