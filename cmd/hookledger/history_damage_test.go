package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Parts of the history that can't be read, as a failing disk leaves them, are said
// and made again from the log at the next start, for every table.
func TestBrokenHistoryIsMadeAgain(t *testing.T) {
	dir := newDataDir(t)
	r := receiver(t, nil)
	s := startServer(t, dir, openFlags...)
	c := s.account(t)
	h := c.webhook(r.URL())
	var published, deliveries []string
	for range 3 {
		id := c.publish()
		published, deliveries = append(published, id), append(deliveries, c.delivery(id, "delivered"))
	}
	answers := func() (all []string) {
		for i, id := range published {
			e, d := c.get("/events/"+id).is(200), c.get("/webhooks/deliveries/"+deliveries[i]).is(200)
			all = append(all, string(e.body), string(d.body), string(c.get("/webhooks/deliveries/"+deliveries[i]+"/attempts").is(200).body))
		}
		return append(all, string(c.get(h.path()+"/deliveries").is(200).body))
	}
	before := answers()
	counts := s.ok(t, "", "sql --format TSV", countRows)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	parts, err := filepath.Glob(filepath.Join(dir, "engine", "store", "*", "*", "*_*_*", "data.bin"))
	if err != nil || len(parts) < 4 {
		t.Fatalf("the parts of the history: %q, %v", parts, err)
	}
	for i, part := range parts {
		if err := os.Remove(filepath.Join(filepath.Dir(part), []string{"data.bin", "checksums.txt", "columns.txt"}[i%3])); err != nil {
			t.Fatal(err)
		}
	}

	s = startServer(t, dir, openFlags...)
	c.server = s
	c.deliveries(published[2], 1, "delivered")
	eventually(t, "the history to be whole again", func() error {
		return differs(counts, s.ok(t, "", "sql --format TSV", countRows))
	})
	for i, a := range answers() {
		if a != before[i] {
			t.Errorf("answer %d was\n%s\nand is\n%s", i, before[i], a)
		}
	}
	said, err := os.ReadFile(s.err)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"attempts", "deliveries", "events", "config_changes", "places"} {
		if !regexp.MustCompile(`can't be read any more.*"?` + table + `/`).Match(said) {
			t.Errorf("that parts of %s were broken is not said: %s", table, said)
		}
	}
	// It is said and done once.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = startServer(t, dir, openFlags...)
	if said, _ := os.ReadFile(s.err); strings.Contains(string(said), "can't be read any more") {
		t.Errorf("the start after the next says again: %s", said)
	}
}

const countRows = "SELECT (SELECT count() FROM attempts FINAL), (SELECT count() FROM deliveries FINAL), (SELECT count() FROM events FINAL), (SELECT count() FROM config_changes FINAL)"

func differs(want, got string) error {
	if want != got {
		return fmt.Errorf("%s, want %s", got, want)
	}
	return nil
}
