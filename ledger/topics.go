package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Topic is one of the topics of the ledger, by its name without the prefix.
type Topic string

// The topics of the ledger (DESIGN section 1).
const (
	// Config holds the facts about webhooks and API keys. Kept for ever.
	Config Topic = "config"
	// Events holds what platforms published, as CloudEvents.
	Events Topic = "events"
	// EventIDs holds hashes of the client-given event ids that the router has passed.
	EventIDs Topic = "event-ids"
	// Deliveries holds requests to deliver, and retries by hand.
	Deliveries Topic = "deliveries"
	// Lanes holds the dispatcher's open work.
	Lanes Topic = "lanes"
	// Attempts holds what happened.
	Attempts Topic = "attempts"
	// DeadLetters holds records that could not be understood.
	DeadLetters Topic = "dead-letters"
)

// AllTopics lists every topic.
var AllTopics = []Topic{Config, Events, EventIDs, Deliveries, Lanes, Attempts, DeadLetters}

// Settings are how topics are made and what they are checked against.
type Settings struct {
	// Prefix is put before every topic's name, such as "hl.".
	Prefix string
	// Partitions of config, events (and event-ids, dead-letters), and of
	// deliveries, lanes and attempts. They never change once made.
	ConfigPartitions, EventPartitions, DeliveryPartitions int32
	// ReplicationFactor and MinInsyncReplicas of every topic.
	ReplicationFactor int16
	MinInsyncReplicas int
	// HistoryRetention is how long events and attempts are kept.
	HistoryRetention time.Duration
	// BrokerTrims says whether the broker enforces retention. The embedded one
	// does it wrongly (one old timestamp trims fresher records before it), so
	// there every topic has retention.ms=-1 and the Trimmer uses DeleteRecords.
	BrokerTrims bool
	// MaxMessageBytes bounds one batch.
	MaxMessageBytes int
}

// EmbeddedSettings are those of the one-machine default: few partitions,
// because each costs file syncs.
func EmbeddedSettings(prefix string) Settings {
	return Settings{
		Prefix: prefix, ConfigPartitions: 4, EventPartitions: 4, DeliveryPartitions: 4,
		ReplicationFactor: 1, MinInsyncReplicas: 1,
		HistoryRetention: 30 * 24 * time.Hour, MaxMessageBytes: 4 << 20,
	}
}

// eventIDsKept is how long `event-ids` is kept: 24 hours of record time, with
// room for a router that was away for a day.
const eventIDsKept = 49 * time.Hour

// retention is how long the log keeps a topic, negative for ever.
func (s Settings) retention(t Topic) time.Duration {
	switch t {
	case EventIDs:
		return eventIDsKept
	case Events, Attempts, DeadLetters:
		return s.HistoryRetention
	case Config, Deliveries, Lanes:
		return -1 // config is the audit trail; the others are trimmed by their owner
	}
	return -1
}

func (s Settings) partitions(t Topic) int32 {
	switch t {
	case Config:
		return s.ConfigPartitions
	case Deliveries, Lanes, Attempts:
		return s.DeliveryPartitions
	case Events, EventIDs, DeadLetters:
		return s.EventPartitions
	}
	return s.EventPartitions
}

// maxBatch bounds one batch of a topic, in bytes: for the broker by the topic's
// setting, for our producers when they make batches. The two must agree: a batch
// that only the client allows is refused whenever there is enough to fill it.
func (s Settings) maxBatch(t Topic) int {
	size := s.MaxMessageBytes
	if t == DeadLetters {
		size += deadLetterRoom
	}
	return size
}

// configs are the settings a topic is made with.
func (s Settings) configs(t Topic) map[string]string {
	retention := int64(-1)
	if r := s.retention(t); s.BrokerTrims && r > 0 {
		retention = r.Milliseconds()
	}
	return map[string]string{
		"cleanup.policy":         "delete",
		"retention.ms":           strconv.FormatInt(retention, 10),
		"retention.bytes":        "-1",
		"min.insync.replicas":    strconv.Itoa(s.MinInsyncReplicas),
		"max.message.bytes":      strconv.Itoa(s.maxBatch(t)),
		"message.timestamp.type": "LogAppendTime",
	}
}

// ErrTopicUnsafe is returned for a topic that is less safe than configured.
var ErrTopicUnsafe = errors.New("topic is less safe than configured")

// EnsureTopics makes the topics that are missing and checks the settings of
// those that are there. It reports every fault at once (ErrTopicUnsafe), each
// with what it is, what it must be and how to mend it. It returns the topics
// that it made, so that their initial records can be written.
func (l *Log) EnsureTopics(ctx context.Context) (made []Topic, err error) {
	want := make([]string, 0, len(AllTopics))
	for _, t := range AllTopics {
		want = append(want, l.Name(t))
	}
	found, err := l.admin.ListTopics(ctx, want...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	var faults []error
	for _, t := range AllTopics {
		name := l.Name(t)
		detail, ok := found[name]
		if ok && !errors.Is(detail.Err, kerr.UnknownTopicOrPartition) {
			if detail.Err != nil {
				return nil, fmt.Errorf("describe topic %q: %w", name, detail.Err)
			}
			faults = append(faults, l.checkTopic(ctx, t, detail))
			continue
		}
		configs := make(map[string]*string)
		for k, v := range l.settings.configs(t) {
			configs[k] = &v
		}
		resp, err := l.admin.CreateTopic(ctx, l.settings.partitions(t), l.settings.ReplicationFactor, configs, name)
		if err == nil {
			err = resp.Err
		}
		switch {
		case err == nil:
			made = append(made, t)
		case errors.Is(err, kerr.TopicAlreadyExists): // another node was quicker
		default:
			return made, fmt.Errorf("create topic %q with %d partitions and replication factor %d: %w",
				name, l.settings.partitions(t), l.settings.ReplicationFactor, err)
		}
	}
	if len(made) > 0 {
		faults = append(faults, l.awaitTopics(ctx, want))
	}
	return made, errors.Join(faults...)
}

// topicsPause is between two looks whether new topics are known.
const topicsPause = 20 * time.Millisecond

// awaitTopics waits until new topics are known and led: until then brokers say,
// and this client remembers, that they don't exist.
func (l *Log) awaitTopics(ctx context.Context, names []string) error {
	for {
		found, err := l.admin.ListTopics(ctx, names...)
		if err != nil {
			return fmt.Errorf("list topics: %w", err)
		}
		known := 0
		for _, name := range names {
			d, ok := found[name]
			led := ok && d.Err == nil
			for _, p := range d.Partitions {
				led = led && p.Err == nil && p.Leader >= 0
			}
			if led {
				known++
			}
		}
		if known == len(names) {
			return nil
		}
		select {
		case <-time.After(topicsPause):
		case <-ctx.Done():
			return fmt.Errorf("wait for new topics: %d of %d are known and have leaders: %w", known, len(names), ctx.Err())
		}
	}
}

func (l *Log) checkTopic(ctx context.Context, t Topic, detail kadm.TopicDetail) error {
	name := l.Name(t)
	var faults []error
	fault := func(setting, is, want, mend string) {
		faults = append(faults, fmt.Errorf("%w: topic %q has %s %s, want %s: %s", ErrTopicUnsafe, name, setting, is, want, mend))
	}
	if n, want := len(detail.Partitions), int(l.settings.partitions(t)); n != want {
		fault("partitions", strconv.Itoa(n), strconv.Itoa(want),
			"partition counts never change once made: set the partition counts to those of the topics, or use another --topic-prefix")
	}
	if n, want := detail.Partitions.NumReplicas(), int(l.settings.ReplicationFactor); n < want {
		fault("replication factor", strconv.Itoa(n), strconv.Itoa(want), "reassign its partitions to more brokers, or lower --replication-factor")
	}
	resp, err := l.admin.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return fmt.Errorf("describe settings of topic %q: %w", name, err)
	}
	rc, err := resp.On(name, nil)
	if err == nil {
		err = rc.Err
	}
	if err != nil {
		return fmt.Errorf("describe settings of topic %q: %w", name, err)
	}
	is := make(map[string]string)
	for _, c := range rc.Configs {
		is[c.Key] = c.MaybeValue()
	}
	want := l.settings.configs(t)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !safeEnough(key, is[key], want[key]) {
			fault(key, strconv.Quote(is[key]), strconv.Quote(want[key]),
				fmt.Sprintf("kafka-configs --alter --topic %s --add-config %s=%s", name, key, want[key]))
		}
	}
	return errors.Join(faults...)
}

// safeEnough compares a setting: more retention, more replicas and larger
// messages than configured are as safe.
func safeEnough(key, is, want string) bool {
	switch key {
	case "retention.ms", "retention.bytes", "min.insync.replicas", "max.message.bytes":
		i, err1 := strconv.ParseInt(is, 10, 64)
		w, err2 := strconv.ParseInt(want, 10, 64)
		if err1 != nil || err2 != nil {
			return false
		}
		if i < 0 { // for ever
			return true
		}
		return w >= 0 && i >= w
	default:
		return is == want
	}
}

// Name is a topic's full name.
func (l *Log) Name(t Topic) string { return l.settings.Prefix + string(t) }

// TopicOf is the topic of a full name.
func (l *Log) TopicOf(name string) Topic {
	return Topic(name[min(len(l.settings.Prefix), len(name)):])
}

// Partitions is the number of partitions of a topic.
func (l *Log) Partitions(t Topic) int32 { return l.settings.partitions(t) }

// Partition is where a topic's records with this key lie: Kafka's default
// partitioner, murmur2 of the key.
func (l *Log) Partition(t Topic, key []byte) int32 {
	return PartitionOf(key, l.settings.partitions(t))
}

// PartitionOf is Kafka's default partition for a key: murmur2 of it, without its
// sign, modulo the number of partitions.
func PartitionOf(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}
