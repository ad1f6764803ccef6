package broker_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
)

// afterKill copies the folder of an idle broker: what SIGKILL would leave of it.
func afterKill(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	return to
}

// A producer that outlives the broker (another process of this machine) and sends a batch again, because it
// lost the acknowledgement, has it once; and it goes on with the next.
func TestProducerOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	b, stop := open(t, path, broker.Options{})
	topic := brokertest.Topic(t, b, "a", 1)
	cl := brokertest.Client(t, b)
	resp, err := kmsg.NewPtrInitProducerIDRequest().RequestWith(testContext(t), cl)
	if err != nil {
		t.Fatal(err)
	}
	pid := resp.ProducerID

	send := func(cl *kgo.Client, seq int32, want int64) {
		t.Helper()
		if got, err := sendBatch(t, cl, topic, pid, seq); err != nil || got != want {
			t.Errorf("batch %d: offset %d, %v, want %d", seq, got, err, want)
		}
	}
	for seq := range int32(7) {
		send(cl, seq, int64(seq))
	}
	send(cl, 6, 6)

	killed := afterKill(t, path)
	b2, stop2 := open(t, killed, broker.Options{})
	if !b2.Unclean() {
		t.Error("not unclean")
	}
	cl2 := brokertest.Client(t, b2)
	for seq := int32(2); seq < 7; seq++ {
		send(cl2, seq, int64(seq)) // the last five are known
	}
	if _, err := sendBatch(t, cl2, topic, pid, 8); err != kerr.OutOfOrderSequenceNumber { //nolint:errorlint // kerr's are compared
		t.Errorf("a batch after a missing one: %v", err)
	}
	send(cl2, 7, 7)
	stop2()

	// A clean stop, a start, more records, a kill: what the clean stop remembered is old by then.
	b2, _ = open(t, killed, broker.Options{})
	send(brokertest.Client(t, b2), 8, 8)
	b2, _ = open(t, afterKill(t, killed), broker.Options{})
	cl2 = brokertest.Client(t, b2)
	send(cl2, 8, 8)
	send(cl2, 9, 9)
	stop()
}

// sendBatch sends one record as an idempotent producer does, and returns its offset.
func sendBatch(t *testing.T, cl *kgo.Client, topic string, pid int64, seq int32) (int64, error) {
	t.Helper()
	rec := kmsg.Record{Value: []byte("x")}
	rec.Length = int32(len(rec.AppendTo(nil))) - 1
	now := time.Now().UnixMilli()
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: pid, FirstSequence: seq, NumRecords: 1, Records: rec.AppendTo(nil),
	}
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))

	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = raw
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rt.Partitions = append(rt.Partitions, part)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	req.Topics = append(req.Topics, rt)
	meta, err := kadm.NewClient(cl).Metadata(testContext(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	req.Topics[0].TopicID = meta.Topics[topic].ID
	resp, err := req.RequestWith(testContext(t), cl)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.Topics[0].Partitions[0]
	return got.BaseOffset, kerr.ErrorForCode(got.ErrorCode)
}

// A torn end of groups.log hides no later commit.
func TestTornCommits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	b, _ := open(t, path, broker.Options{})
	topic := brokertest.Topic(t, b, "a", 1)
	commit := func(b *broker.Broker, at int64) {
		t.Helper()
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, At: at})
		if err := kadm.NewClient(brokertest.Client(t, b)).CommitAllOffsets(testContext(t), "g", o); err != nil {
			t.Fatal(err)
		}
	}
	committed := func(b *broker.Broker) int64 {
		t.Helper()
		o, err := kadm.NewClient(brokertest.Client(t, b)).FetchOffsets(testContext(t), "g")
		if err != nil {
			t.Fatal(err)
		}
		r, _ := o.Lookup(topic, 0)
		return r.At
	}
	commit(b, 1)
	for round, tail := range [][]byte{{1}, {200, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7}, make([]byte, 4096), nil} {
		path = afterKill(t, path)
		f, err := os.OpenFile(filepath.Join(path, "broker", "groups.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(tail); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		b, _ = open(t, path, broker.Options{})
		if got, want := committed(b), int64(round)+1; got != want {
			t.Errorf("round %d: commit %d, want %d", round, got, want)
		}
		commit(b, int64(round)+2)
	}
}

// A partition of a topic that nobody knows is moved out of the way, not read, and not lost.
func TestOrphanIsSetAside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	_, stop := open(t, path, broker.Options{})
	stop()
	orphan := filepath.Join(path, "broker", "partitions", "a-0")
	if err := os.MkdirAll(orphan, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(orphan, "0.dat"), []byte("what was there"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := open(t, path, broker.Options{})
	adm := kadm.NewClient(brokertest.Client(t, b))
	if _, err := adm.CreateTopic(testContext(t), 1, 1, nil, "a"); err != nil {
		t.Fatal(err)
	}
	ends, err := adm.ListEndOffsets(testContext(t), "a")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := ends.Lookup("a", 0); o.Offset != 0 {
		t.Errorf("the new topic ends at %d", o.Offset)
	}
	kept, err := filepath.Glob(filepath.Join(path, "broker", "orphans", "*", "a-0", "0.dat"))
	if err != nil || len(kept) != 1 {
		t.Errorf("the orphan is at %v, %v", kept, err)
	}
}
