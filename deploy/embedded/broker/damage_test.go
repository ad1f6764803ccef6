package broker_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
)

// A power cut leaves the files' tails cut, or with garbage. Whatever the place, the log comes up as a prefix
// of what was written, without gaps, and goes on at its end.
func TestTailsCutAnywhere(t *testing.T) {
	t.Parallel()
	const records = 300
	src := filepath.Join(t.TempDir(), "data")
	b, stop := open(t, src, broker.Options{Fsync: broker.FsyncNone})
	topic := brokertest.Topic(t, b, "cut", 1)
	cl := brokertest.Client(t, b, kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range records {
		r := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", rand.IntN(200)))}
		if i%10 > 0 { // batches of one and of several
			cl.Produce(testContext(t), r, nil)
		} else if err := cl.ProduceSync(testContext(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	src = afterKill(t, src)
	stop()

	for i := range 16 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(path, os.DirFS(src)); err != nil {
				t.Fatal(err)
			}
			part := filepath.Join(path, "broker", "partitions", topic+"-0")
			for _, ext := range []string{"dat", "idx"} {
				damage(t, filepath.Join(part, "0."+ext), i%2 == 0)
			}
			b, _ := open(t, path, broker.Options{Fsync: broker.FsyncNone})
			if !b.Unclean() {
				t.Error("a crash counts as a clean stop")
			}
			log := readAll(t, b, topic, 1)[0]
			for n, r := range log {
				if want := fmt.Sprintf("%d ", n); r.Offset != int64(n) || !strings.HasPrefix(string(r.Value), want) {
					t.Fatalf("record %d: offset %d, value %.10q", n, r.Offset, r.Value)
				}
			}
			r := &kgo.Record{Topic: topic, Value: []byte("next")}
			if err := brokertest.Client(t, b).ProduceSync(testContext(t), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if r.Offset != int64(len(log)) {
				t.Errorf("the next record has offset %d, want %d", r.Offset, len(log))
			}
			if got := readAll(t, b, topic, 1)[0]; len(got) != len(log)+1 || string(got[len(log)].Value) != "next" {
				t.Errorf("read %d records after the next was appended, want %d", len(got), len(log)+1)
			}
		})
	}
}

// damage cuts a file at a random place, and may append garbage.
func damage(t *testing.T, path string, garbage bool) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = b[:rand.IntN(len(b))]
	if garbage {
		for range 1 + rand.IntN(300) {
			b = append(b, byte(rand.IntN(256)))
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A folder that kfake would take for a new one, although it holds records, is refused: starting would
// write empty files over what names them.
func TestMissingNamesAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"meta.json", "topics.json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			b, stop := open(t, path, broker.Options{})
			topic := brokertest.Topic(t, b, "a", 1)
			if err := brokertest.Client(t, b).ProduceSync(testContext(t), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			stop()
			if err := os.Remove(filepath.Join(path, "broker", name)); err != nil {
				t.Fatal(err)
			}
			startRefused(t, path, "damaged")
		})
	}
}

// A segment in the middle that can't be read is said at start.
func TestHoleIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	b, stop := open(t, path, broker.Options{Fsync: broker.FsyncNone})
	topic := brokertest.Prefix(t) + "a"
	cl := brokertest.Client(t, b)
	if _, err := kadm.NewClient(cl).CreateTopic(testContext(t), 1, 1, map[string]*string{"segment.bytes": kadm.StringPtr("1000")}, topic); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: topic, Value: make([]byte, 400)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	segment := filepath.Join(path, "broker", "partitions", topic+"-0", "0.dat")
	info, err := os.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(segment, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	startRefused(t, path, topic+"-0")
	startRefused(t, path, topic+"-0") // and again: the first start has not hidden it
	// As after a crash the folder may be taken as it is, but not with a hole.
	if err := os.Remove(filepath.Join(path, "broker", "clean")); err != nil {
		t.Fatal(err)
	}
	startRefused(t, path, "damaged")
	startRefused(t, path, "damaged")
}

// After a clean stop it is the records that are judged, not the files' sizes: what
// stands behind the last batch is cut, a batch that is gone is said.
func TestFilesOfACleanStopAreJudgedByTheirRecords(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	b, stop := open(t, path, broker.Options{Fsync: broker.FsyncNone})
	topic := brokertest.Topic(t, b, "a", 1)
	cl := brokertest.Client(t, b)
	for i := range 3 {
		if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: topic, Value: []byte{byte(i)}}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	segment := filepath.Join(path, "broker", "partitions", topic+"-0", "0.dat")
	f, err := os.OpenFile(segment, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("a torn tail")
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}

	b, stop = open(t, path, broker.Options{Fsync: broker.FsyncNone})
	if got := readAll(t, b, topic, 1)[0]; len(got) != 3 {
		t.Fatalf("%d records after garbage behind them, want 3", len(got))
	}
	stop()
	info, err := os.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(segment, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	startRefused(t, path, "not those of that stop")
}

// Killed between a roll and the first write to the new segment, a partition has an empty file at its end. kfake
// forgets it and leaves it there: a clean stop then spoke of other files than there were, and the next start was
// refused once.
func TestKilledWhileRolling(t *testing.T) {
	t.Parallel()
	for name, records := range map[string]int{"a second segment": 3, "the only segment": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			b, stop := open(t, path, broker.Options{Fsync: broker.FsyncNone})
			topic := brokertest.Topic(t, b, "a", 1)
			cl := brokertest.Client(t, b)
			for i := range records {
				if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: topic, Value: []byte{byte(i)}}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			stop()
			part := filepath.Join(path, "broker", "partitions", topic+"-0")
			for _, ext := range []string{"dat", "idx"} {
				if err := os.WriteFile(filepath.Join(part, fmt.Sprintf("%d.%s", records, ext)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Remove(filepath.Join(path, "broker", "clean")); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			o := broker.Options{Fsync: broker.FsyncNone, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
			_, stop = open(t, path, o) // nothing is written
			stop()
			b, _ = open(t, path, o)
			if b.Unclean() {
				t.Error("the second start follows a clean stop")
			}
			if strings.Contains(log.String(), "not quite") {
				t.Errorf("the clean stop does not fit its files: %s", log.String())
			}
			r := &kgo.Record{Topic: topic, Value: []byte("next")}
			if err := brokertest.Client(t, b).ProduceSync(testContext(t), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, b, topic, 1)[0]; len(got) != records+1 || r.Offset != int64(records) {
				t.Errorf("%d records, the last at %d; want %d", len(got), r.Offset, records+1)
			}
		})
	}
}
