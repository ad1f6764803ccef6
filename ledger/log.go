package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kslog"
)

// Options say which broker the log is on.
type Options struct {
	// Client are the options that every client of the broker needs: seeds,
	// credentials, TLS.
	Client []kgo.Opt
	// Settings of the topics.
	Settings Settings
	// Sync waits until what the broker has written survives a power cut; nil
	// where replication is the broker's answer.
	Sync func(context.Context) error
	// Logger gets the clients' warnings. Nil discards them.
	Logger *slog.Logger
	// Hooks, when set, makes what is added to a new client of this name, for metrics.
	Hooks func(client string) []kgo.Hook
}

// Log is the log on one broker or cluster. Its methods are safe for concurrent use.
type Log struct {
	opts     Options
	settings Settings
	client   *kgo.Client
	admin    *kadm.Client
	at       *recordCache
	clients  atomic.Int64
}

// Open connects to the broker; it makes nothing there. Close ends it.
func Open(ctx context.Context, opts Options) (*Log, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{opts: opts, settings: opts.Settings}
	client, err := l.newClient("log", append(l.producerOptions(), kgo.ConsumeResetOffset(kgo.NoResetOffset()))...)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	l.client, l.admin = client, kadm.NewClient(client)
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("reach the Kafka brokers: %w", err)
	}
	if l.at, err = newRecordCache(l); err != nil {
		client.Close()
		return nil, err
	}
	return l, nil
}

// Close ends the log's clients. What was appended and not acknowledged fails.
func (l *Log) Close() {
	l.at.close()
	l.client.Close()
}

// newClient makes a client of the same broker.
func (l *Log) newClient(what string, opts ...kgo.Opt) (*kgo.Client, error) {
	name := fmt.Sprintf("hookledger-%s-%d", what, l.clients.Add(1))
	var hooks []kgo.Hook
	if l.opts.Hooks != nil {
		hooks = l.opts.Hooks(name)
	}
	all := slices.Concat(l.opts.Client, []kgo.Opt{
		kgo.WithLogger(kslog.New(l.opts.Logger)),
		kgo.ClientID(name),
		kgo.WithHooks(hooks...),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.DisableClientMetrics(),
	}, opts)
	client, err := kgo.NewClient(all...)
	if err != nil {
		return nil, fmt.Errorf("configure the Kafka client: %w", err)
	}
	return client, nil
}

// producerOptions: acknowledged by all, idempotent, retried for ever. There is
// no linger: batches form by themselves while a request is under way.
func (l *Log) producerOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
			return int32(min(l.settings.maxBatch(l.TopicOf(topic)), 1<<30))
		}),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.UnknownTopicRetries(-1),
		kgo.MaxBufferedBytes(64 << 20),
		kgo.StopProducerOnDataLossDetected(),
	}
}

// Synced returns when everything the broker had written before the call
// survives a power cut. Callers share one sync.
func (l *Log) Synced(ctx context.Context) error {
	if l.opts.Sync == nil {
		return nil
	}
	if err := l.opts.Sync(ctx); err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	return nil
}

// Settings are those the log was opened with.
func (l *Log) Settings() Settings { return l.settings }

// ClusterID names the cluster.
func (l *Log) ClusterID(ctx context.Context) (string, error) {
	m, err := l.admin.BrokerMetadata(ctx)
	if err != nil {
		return "", fmt.Errorf("ask for the cluster id: %w", err)
	}
	return m.Cluster, nil
}

// TopicID is the broker's own id of a topic: another one is another topic,
// though it has the same name.
func (l *Log) TopicID(ctx context.Context, t Topic) ([16]byte, error) {
	found, err := l.admin.ListTopics(ctx, l.Name(t))
	if err != nil {
		return [16]byte{}, fmt.Errorf("describe topic %q: %w", l.Name(t), err)
	}
	d, ok := found[l.Name(t)]
	if !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
		return [16]byte{}, fmt.Errorf("topic %q is missing: start `hookledger serve` once, or create it", l.Name(t))
	}
	if d.Err != nil {
		return [16]byte{}, fmt.Errorf("describe topic %q: %w", l.Name(t), d.Err)
	}
	return d.ID, nil
}

// Trim deletes a partition's records below an offset (DeleteRecords, KIP-107).
func (l *Log) Trim(ctx context.Context, t Topic, partition int32, below int64) error {
	var o kadm.Offsets
	o.AddOffset(l.Name(t), partition, below, -1)
	resp, err := l.admin.DeleteRecords(ctx, o)
	if err = errors.Join(err, resp.Error()); err != nil {
		return fmt.Errorf("trim %s/%d below %d: %w", l.Name(t), partition, below, err)
	}
	return nil
}
