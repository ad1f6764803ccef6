// Package brokertest gives tests a real embedded broker.
//
// A package that starts one in each test pays some ten milliseconds each time; with [Main] all tests of a
// package share one, and keep apart by the topic prefix that [Prefix] makes for each:
//
//	func TestMain(m *testing.M) { os.Exit(brokertest.Main(m)) }
//
//	func TestPublish(t *testing.T) {
//		b := brokertest.Start(t)
//		topic := brokertest.Topic(t, b, "events", 4)
//		cl := brokertest.Client(t, b)
//
// Nothing here syncs to disk (FsyncNone): tests of durability start their own with [New].
package brokertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/datadir"
)

// shared is the broker of this test binary, set by Main for as long as its tests run. It is the one
// package-level variable, because a test binary has no other place to hand a value from TestMain to tests.
var shared *broker.Broker

// Main runs the package's tests with one shared broker, which Start returns, and returns the exit code.
func Main(m *testing.M) (code int) {
	path, err := os.MkdirTemp("", "brokertest")
	if err == nil {
		defer func() { _ = os.RemoveAll(path) }()
		var stop func() error
		if shared, stop, err = start(path, broker.Options{Fsync: broker.FsyncNone}); err == nil {
			defer func() {
				shared = nil
				if err := stop(); err != nil {
					fmt.Fprintln(os.Stderr, "brokertest:", err)
					code = 1
				}
			}()
			return m.Run()
		}
	}
	fmt.Fprintln(os.Stderr, "brokertest:", err)
	return 1
}

// Start returns the package's shared broker if its TestMain calls Main, otherwise one of the test's own,
// which ends with the test.
func Start(t testing.TB) *broker.Broker {
	t.Helper()
	if shared != nil {
		return shared
	}
	return New(t, broker.Options{Fsync: broker.FsyncNone})
}

// New returns a broker of the test's own in a new data folder, with the given options (Dir is filled in).
// It ends with the test.
func New(t testing.TB, o broker.Options) *broker.Broker {
	t.Helper()
	b, stop, err := start(filepath.Join(t.TempDir(), "data"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func start(path string, o broker.Options) (*broker.Broker, func() error, error) {
	dir, err := datadir.Open(path)
	if err != nil {
		return nil, nil, err
	}
	o.Dir = dir
	b, err := broker.Start(context.Background(), o)
	if err != nil {
		_ = dir.Close()
		return nil, nil, err
	}
	return b, func() error {
		if err := b.Close(); err != nil {
			_ = dir.Close()
			return err
		}
		return dir.Close()
	}, nil
}

// Prefix returns a topic prefix that no other call returns. It names the test, for reading logs.
func Prefix(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	// No dot or underscore before the last character: Kafka takes topic names that differ in these only
	// for a collision.
	return name[:min(len(name), 48)] + "-" + strings.ToLower(rand.Text()[:10]) + "."
}

// Client returns a client of the broker with the given options; it ends with the test.
func Client(t testing.TB, b *broker.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	// A client asks for metadata at most every 5 s by default, so that a topic made by the test after the
	// client's first request is found late.
	opts = append(append(b.ClientOpts(), kgo.MetadataMinAge(10*time.Millisecond)), opts...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatalf("brokertest: new client: %v", err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Topic creates a topic named by a fresh prefix and name, and returns its whole name.
func Topic(t testing.TB, b *broker.Broker, name string, partitions int32) string {
	t.Helper()
	topic := Prefix(t) + name
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	adm := kadm.NewClient(Client(t, b))
	if _, err := adm.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		t.Fatalf("create topic %q: %v", topic, err)
	}
	return topic
}
