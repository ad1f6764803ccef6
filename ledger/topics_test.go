package ledger_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
)

func TestEnsureTopicsMakesThenChecks(t *testing.T) {
	t.Parallel()
	l := node(t, small(brokertest.Prefix(t)))
	if _, err := l.TopicID(t.Context(), ledger.Config); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("id of a topic that is not there: %v", err)
	}
	made, err := l.EnsureTopics(t.Context())
	if err != nil || !slices.Equal(made, ledger.AllTopics) {
		t.Fatalf("made %v, %v", made, err)
	}
	made, err = l.EnsureTopics(t.Context())
	if err != nil || len(made) != 0 {
		t.Fatalf("the second time made %v, %v", made, err)
	}
	ids := make(map[[16]byte]bool)
	for _, topic := range ledger.AllTopics {
		id, err := l.TopicID(t.Context(), topic)
		if err != nil || id == [16]byte{} || ids[id] {
			t.Errorf("id of %s: %x, %v", topic, id, err)
		}
		ids[id] = true
		ends, err := l.Ends(t.Context(), topic)
		if err != nil || len(ends) != int(l.Partitions(topic)) {
			t.Errorf("%s has ends %v, %v", topic, ends, err)
		}
		if l.TopicOf(l.Name(topic)) != topic {
			t.Errorf("topic of %q is %q", l.Name(topic), l.TopicOf(l.Name(topic)))
		}
	}
	if cluster, err := l.ClusterID(t.Context()); err != nil || cluster == "" {
		t.Errorf("cluster id %q, %v", cluster, err)
	}
}

func TestEnsureTopicsOnTwoNodesAtOnce(t *testing.T) {
	t.Parallel()
	s := small(brokertest.Prefix(t))
	a, b := node(t, s), node(t, s)
	var wg sync.WaitGroup
	made := make([][]ledger.Topic, 2)
	errs := make([]error, 2)
	for i, l := range []*ledger.Log{a, b} {
		wg.Go(func() { made[i], errs[i] = l.EnsureTopics(t.Context()) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	both := slices.Sorted(slices.Values(slices.Concat(made...)))
	if want := slices.Sorted(slices.Values(ledger.AllTopics)); !slices.Equal(both, want) {
		t.Errorf("made %v and %v, want each topic once", made[0], made[1])
	}
}

func TestEnsureTopicsNamesEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	s := small(brokertest.Prefix(t))
	ensure(t, node(t, s))
	adm := kadm.NewClient(brokertest.Client(t, brokertest.Start(t)))
	alter := func(topic ledger.Topic, key, value string) {
		t.Helper()
		got, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: key, Value: &value}}, s.Prefix+string(topic))
		if err == nil {
			_, err = got.On(s.Prefix+string(topic), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	alter(ledger.Config, "cleanup.policy", "compact")
	alter(ledger.Config, "retention.ms", "1000")
	alter(ledger.Lanes, "retention.bytes", "1000")
	alter(ledger.Attempts, "message.timestamp.type", "CreateTime")

	s.EventPartitions, s.ReplicationFactor, s.MinInsyncReplicas, s.MaxMessageBytes = 5, 3, 2, 8<<20
	made, err := node(t, s).EnsureTopics(t.Context())
	if !errors.Is(err, ledger.ErrTopicUnsafe) || len(made) != 0 {
		t.Fatalf("made %v, error %v", made, err)
	}
	for topic, faults := range map[ledger.Topic][]string{
		ledger.Config:     {`cleanup.policy "compact", want "delete"`, `retention.ms "1000", want "-1"`, `min.insync.replicas "1", want "2"`},
		ledger.Lanes:      {`retention.bytes "1000"`, `max.message.bytes`, "replication factor 1, want 3"},
		ledger.Attempts:   {`message.timestamp.type "CreateTime", want "LogAppendTime"`},
		ledger.Events:     {"partitions 2, want 5"},
		ledger.EventIDs:   {"partitions 2, want 5"},
		ledger.Deliveries: {`min.insync.replicas "1"`},
	} {
		for _, fault := range faults {
			found := false
			for line := range strings.Lines(err.Error()) {
				found = found || strings.Contains(line, `"`+s.Prefix+string(topic)+`"`) && strings.Contains(line, fault)
			}
			if !found {
				t.Errorf("nothing says that %s has %s", topic, fault)
			}
		}
	}
	if !strings.Contains(err.Error(), "kafka-configs --alter --topic "+s.Prefix+"config --add-config cleanup.policy=delete") {
		t.Error("nothing says how to mend it")
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestSaferTopicsThanConfiguredAreFine(t *testing.T) {
	t.Parallel()
	s := small(brokertest.Prefix(t))
	s.HistoryRetention, s.BrokerTrims = 24*time.Hour, true
	ensure(t, node(t, s))
	s.HistoryRetention, s.MaxMessageBytes = 12*time.Hour, 1<<20
	if made, err := node(t, s).EnsureTopics(t.Context()); err != nil || len(made) != 0 {
		t.Errorf("made %v, %v", made, err)
	}
	s.HistoryRetention = 48 * time.Hour
	if _, err := node(t, s).EnsureTopics(t.Context()); !errors.Is(err, ledger.ErrTopicUnsafe) {
		t.Errorf("with too little retention: %v", err)
	}
}

func TestOpenWithoutBroker(t *testing.T) {
	t.Parallel()
	_, err := ledger.Open(t.Context(), ledger.Options{
		Client:   []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1"), kgo.RetryTimeout(100 * time.Millisecond), kgo.RequestRetries(0)},
		Settings: small("x."),
	})
	if err == nil || !strings.Contains(err.Error(), "reach the Kafka brokers") {
		t.Errorf("error %v", err)
	}
}

// The vectors of Kafka's own UtilsTest.testMurmur2, as partitions of a topic
// with 2^31-1: Kafka clears the sign, then takes the remainder.
func TestPartitionOfIsKafkas(t *testing.T) {
	t.Parallel()
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		const most = 1<<31 - 1
		if got, want := ledger.PartitionOf([]byte(key), most), int32(int64(uint32(hash)&most)%most); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
	kafka := kgo.StickyKeyPartitioner(nil).ForTopic("")
	for key := range maps.Keys(map[string]bool{"\x00": true, "acct/evt_1": true, "äöü": true, "abcd": true, "abcde": true, "abcdef": true, "abcdefg": true}) {
		for _, n := range []int32{1, 2, 3, 4, 12, 100} {
			if got, want := ledger.PartitionOf([]byte(key), n), kafka.Partition(&kgo.Record{Key: []byte(key)}, int(n)); int(got) != want {
				t.Errorf("%q of %d: %d, the Kafka client says %d", key, n, got, want)
			}
		}
	}
}
