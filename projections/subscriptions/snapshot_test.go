package subscriptions

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

func TestSnapshot(t *testing.T) {
	b, prefix, folder := brokertest.Start(t), brokertest.Prefix(t), t.TempDir()
	log := openLog(t, b, prefix, nil)
	ctx := testContext(t)
	s, stop := running(t, log, Options{Folder: folder})
	for n := range uint64(20) {
		s.must(t, Applied, fmt.Sprint("account-", n%5), with(idem(byte(n), 1), newFact(n+1, func(w *facts.Webhook) {
			w.Metadata, w.IndexIds = []byte("{}"), []string{"i"}
		})))
	}
	s.must(t, Applied, "account-0", remove(1, 0))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, snapshotName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// load starts a node from what lies in the folder, and says whether it was used.
	load := func(text []byte, log *ledger.Log) (*Subscriptions, bool) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		n := NewNode(log, Options{Folder: folder, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		if err := n.loadSnapshot(ctx); err != nil {
			t.Fatal(err)
		}
		used := n.savedFacts > 0
		if used == strings.Contains(said.String(), "thrown away") {
			t.Errorf("used %v, and said %q", used, said.String())
		}
		return n, used
	}
	whole, used := load(good, log)
	if !used {
		t.Fatal("the snapshot was not used")
	}
	same(t, s, whole)
	for at := 0; at < len(good); at += 1 + len(good)/200 {
		flipped := bytes.Clone(good)
		flipped[at] ^= 4
		if _, used := load(flipped, log); used {
			t.Fatalf("used with byte %d flipped", at)
		}
		if _, used := load(good[:at], log); used {
			t.Fatalf("used when cut at %d", at)
		}
	}
	if _, used := load(good, openLog(t, b, brokertest.Prefix(t), nil)); used {
		t.Error("used on another log")
	}
	// A log that lost its tail, or has another one.
	parts := saved(whole)
	for p := range parts {
		if parts[p].Next > 0 {
			parts[p].Last[0]++
			break
		}
	}
	forged, err := encodeSnapshot(whole.head, parts)
	if err != nil {
		t.Fatal(err)
	}
	if _, used := load(forged, log); used {
		t.Error("used though the log has another record at its end")
	}
	parts = saved(whole)
	parts[0].Next += 1000
	if forged, err = encodeSnapshot(whole.head, parts); err != nil {
		t.Fatal(err)
	}
	if _, used := load(forged, log); used {
		t.Error("used though the log ends before it")
	}

	// Snapshot and rest are the whole.
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	fromSnapshot, _ := running(t, log, Options{Folder: folder})
	fromStart, _ := running(t, log, Options{})
	fromSnapshot.must(t, Applied, "account-1", newFact(100, nil))
	fromStart.must(t, Applied, "account-2", newFact(101, nil))
	for _, n := range []*Subscriptions{fromSnapshot, fromStart} {
		if err := n.Barrier(ctx); err != nil {
			t.Fatal(err)
		}
	}
	same(t, fromStart, fromSnapshot)
}
