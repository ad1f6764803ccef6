package ledger_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
)

func TestMain(m *testing.M) {
	code := brokertest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// small are settings with few partitions.
func small(prefix string) ledger.Settings {
	s := ledger.EmbeddedSettings(prefix)
	s.ConfigPartitions, s.EventPartitions, s.DeliveryPartitions = 2, 2, 3
	return s
}

// node opens the log on the package's broker; it ends with the test.
func node(t testing.TB, s ledger.Settings) *ledger.Log {
	t.Helper()
	b := brokertest.Start(t)
	return open(t, ledger.Options{Client: b.ClientOpts(), Sync: b.Sync, Settings: s})
}

func open(t testing.TB, o ledger.Options) *ledger.Log {
	t.Helper()
	l, err := ledger.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// ready is a node with its topics made.
func ready(t testing.TB) *ledger.Log {
	t.Helper()
	l := node(t, small(brokertest.Prefix(t)))
	ensure(t, l)
	return l
}

func ensure(t testing.TB, l *ledger.Log) {
	t.Helper()
	if _, err := l.EnsureTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// fake starts kfake itself, for faults that the embedded broker doesn't let in,
// and for a restart at the same address. stop is safe to call twice.
func fake(t testing.TB, opts ...kfake.Opt) (c *kfake.Cluster, o ledger.Options, stop func()) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, ledger.Options{
		Client: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, Settings: small("t."),
	}, c.Close
}

// freePort is a port that a fake can be started on again.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// appendN appends records with the values from..to-1 to a partition.
func appendN(t testing.TB, l *ledger.Log, topic ledger.Topic, partition int32, from, to int) {
	t.Helper()
	records := make([]ledger.Record, 0, to-from)
	for i := from; i < to; i++ {
		records = append(records, ledger.Record{Topic: topic, Partition: partition, Value: []byte(strconv.Itoa(i))})
	}
	if _, err := l.Append(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

func reader(t testing.TB, l *ledger.Log) *ledger.Reader {
	t.Helper()
	r, err := l.NewReader(ledger.ReaderOptions{MaxWait: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// soon bounds what a test waits for.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// poll reads until it has n records of a partition, which it returns.
func poll(t testing.TB, r *ledger.Reader, topic ledger.Topic, partition int32, n int) []*kgo.Record {
	t.Helper()
	ctx := soon(t)
	var got []*kgo.Record
	for len(got) < n {
		batches, err := r.Poll(ctx, 0)
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(got), n, err)
		}
		for _, b := range batches {
			if b.Topic == topic && b.Partition == partition {
				got = append(got, b.Records...)
			}
		}
	}
	return got
}

// all reads a partition from its start to its end.
func all(t testing.TB, l *ledger.Log, topic ledger.Topic, partition int32) []*kgo.Record {
	t.Helper()
	starts, err := l.Starts(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := l.Ends(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if starts[partition] == ends[partition] {
		return nil
	}
	r := reader(t, l)
	r.Add(topic, partition, starts[partition])
	return poll(t, r, topic, partition, int(ends[partition]-starts[partition]))
}

// pollError reads until Poll fails.
func pollError(t testing.TB, r *ledger.Reader) (records int, err error) {
	t.Helper()
	ctx := soon(t)
	for {
		batches, err := r.Poll(ctx, 0)
		for _, b := range batches {
			records += len(b.Records)
		}
		if err != nil {
			return records, err
		}
	}
}

// eventually polls a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx := soon(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain for: " + what)
		case <-tick.C:
		}
	}
}
