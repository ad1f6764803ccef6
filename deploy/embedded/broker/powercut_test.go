package broker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
)

// until syncs until ok: what a start can know of the syncs before it is written once a second.
func until(t *testing.T, b *broker.Broker, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		if err := b.Sync(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// marked is the segment of a partition that the folder says was synced, and how many bytes of it.
func marked(t *testing.T, path, partition string) (segment, size int64) {
	t.Helper()
	var newest uint64
	for _, name := range []string{"synced.0", "synced.1"} {
		b, err := os.ReadFile(filepath.Join(path, "broker", name))
		if err != nil {
			continue // not yet
		}
		_, text, _ := strings.Cut(string(b), " ")
		var m struct {
			Serial     uint64
			Partitions map[string]struct{ Segment, Size int64 }
		}
		if err := json.Unmarshal([]byte(text), &m); err == nil && m.Serial > newest {
			newest, segment, size = m.Serial, m.Partitions[partition].Segment, m.Partitions[partition].Size
		}
	}
	return segment, size
}

// A power cut takes the unsynced end of one segment and leaves the next: what lies behind the hole was never
// acknowledged and is moved away. The same hole in what was synced is damage, and refused, also at the very end.
func TestPowerCutBetweenSegments(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	b, stop := open(t, path, broker.Options{})
	topic := brokertest.Prefix(t) + "a"
	cl := brokertest.Client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	if _, err := kadm.NewClient(cl).CreateTopic(testContext(t), 1, 1, map[string]*string{"segment.bytes": kadm.StringPtr("2000")}, topic); err != nil {
		t.Fatal(err)
	}
	n := 0
	produce := func(more int) {
		t.Helper()
		for range more {
			r := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 400))}
			if err := cl.ProduceSync(testContext(t), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	name := topic + "-0"
	produce(7)
	var segment, size int64
	until(t, b, "the end is marked as synced", func() bool {
		segment, size = marked(t, path, name)
		return segment > 0 && size > 0
	})
	synced := n
	produce(10)
	after := afterKill(t, path)
	stop()
	file := func(path string, base int64) string {
		return filepath.Join(path, "broker", "partitions", name, fmt.Sprint(base)+".dat")
	}
	change := func(how func(dat string) error) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(path, os.DirFS(after)); err != nil {
			t.Fatal(err)
		}
		if err := how(file(path, segment)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for what, how := range map[string]func(string) error{
		"cut":    func(dat string) error { return os.Truncate(dat, size+10) },
		"zeroed": func(dat string) error { return overwrite(dat, size, 300) },
		// The header of the first batch that was not synced is whole, its body is not.
		"a page lost": func(dat string) error { return overwrite(dat, size+100, 100) },
	} {
		t.Run(what, func(t *testing.T) {
			path := change(how)
			b, _ := open(t, path, broker.Options{})
			log := readAll(t, b, topic, 1)[0]
			for i, r := range log {
				if want := fmt.Sprintf("%d ", i); r.Offset != int64(i) || !strings.HasPrefix(string(r.Value), want) {
					t.Fatalf("record %d: offset %d, value %.10q", i, r.Offset, r.Value)
				}
			}
			if len(log) != synced {
				t.Errorf("%d records, want the %d that were synced", len(log), synced)
			}
			r := &kgo.Record{Topic: topic, Value: []byte("next")}
			if err := brokertest.Client(t, b).ProduceSync(testContext(t), r).FirstErr(); err != nil || r.Offset != int64(synced) {
				t.Errorf("the next record has offset %d, %v", r.Offset, err)
			}
			kept, err := filepath.Glob(filepath.Join(path, "broker", "orphans", "*", "*.dat"))
			if err != nil || len(kept) == 0 {
				t.Errorf("what was moved away is at %v, %v", kept, err)
			}
		})
	}
	for what, how := range map[string]func(string) error{
		"hole in what was synced": func(dat string) error { return os.Truncate(dat, size-1) },
		"end of what was synced": func(dat string) error {
			for base := segment + 1; base < int64(n); base++ {
				if err := os.Remove(file(filepath.Join(filepath.Dir(dat), "../../.."), base)); err != nil && !os.IsNotExist(err) {
					return err
				}
			}
			return os.Truncate(dat, size-1)
		},
	} {
		t.Run(what, func(t *testing.T) {
			path := change(how)
			startRefused(t, path, "it was synced up to")
			startRefused(t, path, "it was synced up to")
		})
	}
}

// overwrite puts zeros over n bytes of a file.
func overwrite(path string, at, n int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(make([]byte, n), at)
	return err
}

// A power cut just after kfake rewrote groups.log may leave the new file without its bytes. The commits that were
// synced are in the file that it replaced.
func TestPowerCutWhileCommitsAreRewritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	b, stop := open(t, path, broker.Options{})
	topic := brokertest.Topic(t, b, "a", 2)
	adm := kadm.NewClient(brokertest.Client(t, b))
	commit := func(p int32, at int64) {
		t.Helper()
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, Partition: p, At: at})
		if err := adm.CommitAllOffsets(testContext(t), "g", o); err != nil {
			t.Fatal(err)
		}
	}
	commit(0, 5)
	commit(1, 6)
	kept := filepath.Join(path, "broker", "groups.log.synced")
	until(t, b, "the synced file has a second name", func() bool {
		a, err1 := os.Stat(kept)
		b, err2 := os.Stat(filepath.Join(path, "broker", "groups.log"))
		return err1 == nil && err2 == nil && os.SameFile(a, b)
	})
	killed := afterKill(t, path)
	commit(0, 7) // as if the rewritten file had it, and no more
	later, err := os.ReadFile(filepath.Join(path, "broker", "groups.log"))
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(killed, "broker", "groups.log"))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	for what, left := range map[string][]byte{"empty": nil, "zeros": make([]byte, 100), "its first entry": later[len(old):]} {
		t.Run(what, func(t *testing.T) {
			path := afterKill(t, killed)
			if err := os.WriteFile(filepath.Join(path, "broker", "groups.log"), left, 0o600); err != nil {
				t.Fatal(err)
			}
			b, _ := open(t, path, broker.Options{})
			got, err := kadm.NewClient(brokertest.Client(t, b)).FetchOffsets(testContext(t), "g")
			if err != nil {
				t.Fatal(err)
			}
			want := int64(5)
			if what == "its first entry" {
				want = 7
			}
			if o, _ := got.Lookup(topic, 0); o.At != want {
				t.Errorf("partition 0: commit %d, want %d", o.At, want)
			}
			if o, _ := got.Lookup(topic, 1); o.At != 6 {
				t.Errorf("partition 1: commit %d, want 6", o.At)
			}
		})
	}
}
