package broker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"go.uber.org/goleak"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/deploy/embedded/datadir"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		os.Exit(runChild(child))
	}
	goleak.VerifyTestMain(m)
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// open starts a broker on the folder, and stops it with the test or by the returned function.
func open(t testing.TB, path string, o broker.Options) (*broker.Broker, func()) {
	t.Helper()
	dir, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	o.Dir = dir
	b, err := broker.Start(testContext(t), o)
	if err != nil {
		_ = dir.Close()
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return b, stop
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, broker.Options{})
	user, pass := b.Credentials()
	for name, opts := range map[string][]kgo.Opt{
		"no credentials":    nil,
		"wrong password":    broker.ClientOpts(datadir.Broker{Addrs: b.Addrs(), User: user, Password: "guess"})[1:],
		"unknown user":      broker.ClientOpts(datadir.Broker{Addrs: b.Addrs(), User: "guess", Password: datadir.Secret(pass)})[1:],
		"plain, nobody":     {kgo.SASL(plain.Auth{User: "nobody", Pass: ""}.AsMechanism())},
		"plain, right pass": {kgo.SASL(plain.Auth{User: user, Pass: pass}.AsMechanism())},
	} {
		t.Run(name, func(t *testing.T) {
			cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addrs()...), kgo.RequestRetries(0)}, opts...)...)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if err := cl.Ping(testContext(t)); err == nil {
				t.Error("let in")
			}
		})
	}
	if err := brokertest.Client(t, b).Ping(testContext(t)); err != nil {
		t.Error(err)
	}
}

// Each start has credentials of its own, and none of any start lie in the broker's files.
func TestCredentialsAreOfThisStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	b, stop := open(t, path, broker.Options{})
	_, first := b.Credentials()
	stop()
	b, _ = open(t, path, broker.Options{})
	_, second := b.Credentials()
	if first == second {
		t.Error("the same password twice")
	}
	if err := brokertest.Client(t, b).Ping(testContext(t)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(path, "broker", "sasl.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sasl.json: %v, want it not to exist", err)
	}
}

func TestNoTopicByAccident(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, broker.Options{})
	cl := brokertest.Client(t, b, kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: "typo", Value: []byte("x")}).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("got %v, want %v", err, kerr.UnknownTopicOrPartition)
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	dir, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:0"} {
		if _, err := broker.Start(t.Context(), broker.Options{Dir: dir, ListenAddr: addr}); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: got %v, want an error that names loopback", addr, err)
		}
	}
}

// What a clean stop wrote is there again: records, topics, commits.
func TestCleanRestart(t *testing.T) {
	t.Parallel()
	for _, fsync := range []broker.Fsync{broker.FsyncGroup, broker.FsyncNone} {
		t.Run(string(fsync), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			b, stop := open(t, path, broker.Options{Fsync: fsync})
			if b.Unclean() {
				t.Error("a new folder is unclean")
			}
			ctx := testContext(t)
			topic := brokertest.Topic(t, b, "a", 2)
			cl := brokertest.Client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			for i := range 10 {
				r := &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: []byte{byte(i)}}
				if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			var offsets kadm.Offsets
			offsets.Add(kadm.Offset{Topic: topic, Partition: 1, At: 3, Metadata: "m"})
			if _, err := kadm.NewClient(cl).CommitOffsets(ctx, "g", offsets); err != nil {
				t.Fatal(err)
			}
			if err := b.Sync(ctx); err != nil {
				t.Fatal(err)
			}
			stop()

			b, _ = open(t, path, broker.Options{Fsync: fsync})
			if b.Unclean() {
				t.Error("unclean after a clean stop")
			}
			adm := kadm.NewClient(brokertest.Client(t, b))
			ends, err := adm.ListEndOffsets(ctx, topic)
			if err != nil {
				t.Fatal(err)
			}
			for p := range int32(2) {
				if o, _ := ends.Lookup(topic, p); o.Offset != 5 {
					t.Errorf("partition %d ends at %d, want 5", p, o.Offset)
				}
			}
			got, err := adm.FetchOffsets(ctx, "g")
			if err != nil {
				t.Fatal(err)
			}
			if o, _ := got.Lookup(topic, 1); o.At != 3 || o.Metadata != "m" {
				t.Errorf("commit %+v, want 3 with metadata m", o.Offset)
			}
		})
	}
}

// startRefused wants Start to fail with an error that names something.
func startRefused(t *testing.T, path, names string) {
	t.Helper()
	dir, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	b, err := broker.Start(testContext(t), broker.Options{Dir: dir})
	if err == nil {
		_ = b.Close()
		t.Fatalf("started, want an error that names %q", names)
	}
	if !strings.Contains(err.Error(), names) {
		t.Errorf("got %v, want an error that names %q", err, names)
	}
}

// The end of a partition that was trimmed to its end is not forgotten, however the broker stops.
func TestTrimToTheEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	b, stop := open(t, path, broker.Options{})
	topic := brokertest.Topic(t, b, "a", 2)
	cl := brokertest.Client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	trim := func(at int64) int64 {
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, Partition: 0, At: at})
		rs, err := kadm.NewClient(cl).DeleteRecords(testContext(t), o)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := rs.Lookup(topic, 0)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.LowWatermark
	}
	if low := trim(-1); low != 0 {
		t.Errorf("trim of an empty partition: %d", low)
	}
	for range 5 {
		if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []int64{-1, 5, 4} {
		if low := trim(at); low != 4 {
			t.Errorf("trim to %d: low watermark %d, want 4: the last record stays", at, low)
		}
	}
	for range 2 {
		stop()
		b, stop = open(t, path, broker.Options{})
		ends, err := kadm.NewClient(brokertest.Client(t, b)).ListEndOffsets(testContext(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := ends.Lookup(topic, 0); o.Offset != 5 {
			t.Errorf("ends at %d, want 5", o.Offset)
		}
	}
}
