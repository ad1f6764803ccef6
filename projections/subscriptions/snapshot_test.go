package subscriptions

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	// Of another version of the fold, and all else fits.
	for _, head := range []snapshotHead{
		{whole.head.Format + 1, whole.head.Rules, whole.head.Cluster, whole.head.Topic, whole.head.Partitions},
		{whole.head.Format, whole.head.Rules - 1, whole.head.Cluster, whole.head.Topic, whole.head.Partitions},
	} {
		other, err := encodeSnapshot(head, saved(whole))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeSnapshot(other, whole.head); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("of another version: %v", err)
		}
		if _, used := load(other, log); used {
			t.Errorf("used, made by format %d and version %d of the fold", head.Format, head.Rules)
		}
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

// started waits for what a node says at its start, and gives its counts.
func started(t *testing.T, log *ledger.Log, folder string) (s *Subscriptions, fromSnapshot, read int, said string) {
	t.Helper()
	var b lockedBuffer
	s, stop := running(t, log, Options{Folder: folder, Logger: slog.New(slog.NewTextHandler(&b, nil))})
	if err := s.Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil { // what Run says at its start is said before it ends
		t.Fatal(err)
	}
	said = b.String()
	at := strings.Index(said, "from_snapshot=")
	if at < 0 || strings.Count(said, "from_snapshot=") != 1 {
		t.Fatalf("the node said %q", said)
	}
	if _, err := fmt.Sscanf(said[at:], "from_snapshot=%d read=%d", &fromSnapshot, &read); err != nil {
		t.Fatal(err)
	}
	return s, fromSnapshot, read, said
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A start reads what came after the snapshot and nothing else; without one, or
// with one that does not fit, it reads all; and the fold is the same each time.
func TestStartReadsOnlyTheTail(t *testing.T) {
	b, folder := brokertest.Start(t), t.TempDir()
	log := openLog(t, b, brokertest.Prefix(t), nil)
	path := filepath.Join(folder, snapshotName)
	write := func(o Options, from, to uint64) {
		t.Helper()
		s, stop := running(t, log, o)
		for n := from; n < to; n++ {
			s.must(t, Applied, fmt.Sprint("account-", n%5), with(idem(byte(n), 1), newFact(n+1, nil)))
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	write(Options{Folder: folder}, 0, 40)
	early, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(Options{}, 40, 47)
	all, _, read, _ := started(t, log, t.TempDir())
	if read != 47 {
		t.Errorf("without a snapshot %d records were read, config has 47", read)
	}
	otherVersion, err := func() ([]byte, error) {
		head := all.head
		head.Rules--
		return encodeSnapshot(head, saved(all))
	}()
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range []struct {
		name               string
		snapshot           []byte // nil is what the last start left
		fromSnapshot, read int
		thrownAway         bool
	}{
		{"the tail", early, 40, 7, false},
		{"all is in the snapshot", nil, 47, 0, false},
		{"an old one put back", early, 40, 7, false},
		{"of another version of the fold", otherVersion, 0, 47, true},
		{"cut", early[:len(early)/2], 0, 47, true},
	} {
		t.Run(start.name, func(t *testing.T) {
			if start.snapshot != nil {
				if err := os.WriteFile(path, start.snapshot, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, fromSnapshot, read, said := started(t, log, folder)
			if fromSnapshot != start.fromSnapshot || read != start.read || strings.Contains(said, "thrown away") != start.thrownAway {
				t.Errorf("%d from the snapshot, %d read, want %d and %d; said %s", fromSnapshot, read, start.fromSnapshot, start.read, said)
			}
			same(t, all, s)
		})
	}
}
