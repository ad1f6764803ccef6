// Package broker runs the embedded Kafka-compatible broker: kfake from franz-go, in this process, with its
// log in the data folder. It serves one machine; clusters use Kafka, behind the same client.
//
// It promises: what a produce request or an offset commit acknowledged survives the death of the process,
// in order and without gaps; what was written before a call of [Broker.Sync] survives a power cut once that
// call returned nil; a write or a sync that failed is never passed over: [Broker.Run] returns it, every
// later Sync fails, and the stop counts as unclean. Only who knows this start's credentials may connect,
// from this machine only.
//
// It never syncs on its own account (the process that acknowledges asks for it), never creates a topic that
// nobody asked for, never deletes by age, and never compacts: CreateTopics, DeleteRecords and Sync are the
// whole of its maintenance. Transactions are not to be used: kfake does not keep them when it is killed.
//
// Decisions, each of them against something that kfake does by itself:
//
//   - SCRAM rather than PLAIN: kfake lets anyone in over PLAIN who sends an unknown user and an empty
//     password, and writes PLAIN passwords to a file.
//   - sasl.json and session_state.json are removed before each start. The first would bring back the
//     credentials of an earlier start in place of this one's; the second would bring back the members of
//     groups, which are processes that ended with the earlier start, as if they lived: their partitions
//     would wait for a session timeout.
//   - seq_windows.json is removed once read, and written anew from the log after a crash: an old one would
//     refuse a living producer's next batch as out of order.
//   - A log that was not stopped cleanly is walked over first, which bounds the memory of a start and finds
//     damage (see recover.go).
//   - Offsets of groups never expire (kfake's default: 7 days without a member, so a machine that was off
//     for a week would forget where the router stood), and no topic has a retention by default.
//   - DeleteRecords never removes a partition's last record (see trim.go): kfake keeps the end offset of an
//     empty partition nowhere, so that offsets would start at 0 again after the next start.
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"hookledger/deploy/embedded/datadir"
)

// Fsync says when what the broker wrote reaches the disk.
type Fsync string

const (
	// FsyncGroup makes Sync wait until it is on disk, one sync for all that wait: an acknowledged event
	// survives a power cut. The default.
	FsyncGroup Fsync = "group"
	// FsyncNone makes Sync return at once: an acknowledged event survives the death of the process, but
	// not a power cut or a crash of the system, which take the last seconds.
	FsyncNone Fsync = "none"
)

// Options of Start. Dir is required.
type Options struct {
	// Dir is the open data folder. Taking it, rather than a path, makes it impossible to start two
	// brokers on one log: kfake itself takes no lock, and two would destroy each other's files.
	Dir *datadir.Dir
	// Fsync defaults to FsyncGroup.
	Fsync Fsync
	// Strategy is how FsyncGroup syncs. It defaults to StrategyAuto.
	Strategy Strategy
	// Logger receives kfake's own messages. It defaults to discarding them.
	Logger *slog.Logger
	// ListenAddr is a loopback address. It defaults to 127.0.0.1:0, a free port.
	ListenAddr string
	// ObserveSync is called after each sync, from the goroutine that did it: how long it took, and how
	// many callers it served. It must not block.
	ObserveSync func(took time.Duration, waiters int)
	// WatchSync is called before each sync, and what it returns once that sync has succeeded, before those who
	// wait for it are told, from one goroutine. It lets a test know, file by file, what a power cut may not take.
	WatchSync func() (synced func())

	// sys replaces system calls in tests.
	sys *syscalls
}

const user = "hookledger"

// The session timeout that a member of a group may ask for: short, because the members of the embedded
// default are on this machine.
const minSessionTimeout = time.Second

// Broker is a running embedded broker.
type Broker struct {
	cluster  *kfake.Cluster
	addrs    []string
	password string
	dir      string
	unclean  bool
	syncer   *syncer // nil with FsyncNone
	final    *syncer // what Close syncs with
	log      *logAdapter

	failOnce sync.Once
	failed   chan struct{} // closed by fail
	failure  error         // set before failed is closed

	closeOnce sync.Once
	closeErr  error
}

// Start opens the log in the data folder and serves it. It returns when clients can connect. The context
// bounds nothing after Start: call Close.
func Start(ctx context.Context, o Options) (*Broker, error) {
	b, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	return b, nil
}

func start(ctx context.Context, o Options) (*Broker, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := &Broker{
		password: rand.Text(),
		dir:      o.Dir.Broker(),
		failed:   make(chan struct{}),
	}
	b.log = &logAdapter{log: o.Logger, fail: b.fail}

	var err error
	if b.unclean, err = prepare(b.dir, o.Logger); err != nil {
		return nil, err
	}
	if b.unclean {
		o.Logger.Warn("the embedded broker was not stopped cleanly last time")
	}
	known, err := readMarks(b.dir)
	if err != nil {
		return nil, fmt.Errorf("read what was synced: %w", err)
	}
	if b.final, err = newSyncer(b.dir, o, newMarker(b.dir, o.Logger, known), b.fail); err != nil {
		return nil, err
	}
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID("hookledger-embedded"),
		kfake.DataDir(b.dir),
		kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", user, b.password),
		kfake.GroupMinSessionTimeout(minSessionTimeout),
		kfake.BrokerConfigs(configs),
		kfake.WithLogger(b.log),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			return net.Listen(network, o.ListenAddr)
		}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the log in %q: %w", b.dir, err), b.final.close())
	}
	// kfake read each segment into memory to find its batches: give that back to the system.
	debug.FreeOSMemory()
	b.addrs = b.cluster.ListenAddrs()
	b.cluster.ControlKey(deleteRecordsKey, keepLastRecord(b.cluster))
	err = afterLoad(b.dir)
	if b.log.truncated.Load() {
		// The walk before the load has seen whole batches everywhere, so this is a batch whose bytes changed.
		err = errors.Join(err, fmt.Errorf("the log in %q is damaged: a checksum is wrong (the log says where): bring the folder back from a backup", b.dir))
	}
	if err != nil {
		b.fail(err)
		_ = b.Close() // says the same
		return nil, err
	}
	if o.Fsync == FsyncGroup {
		b.syncer = b.final
		// What the last process wrote, and what was mended, must not be lost under what is built on it. The second
		// sync is for the mark that the first one leaves.
		for range 2 {
			if err := b.syncer.wait(ctx); err != nil {
				_ = b.Close() // says the same
				return nil, err
			}
		}
	}
	return b, nil
}

func (o *Options) complete() error {
	if o.Dir == nil {
		return errors.New("Options.Dir is missing")
	}
	if o.Fsync == "" {
		o.Fsync = FsyncGroup
	}
	if o.Fsync != FsyncGroup && o.Fsync != FsyncNone {
		return fmt.Errorf("fsync mode %q: want %q or %q", o.Fsync, FsyncGroup, FsyncNone)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ListenAddr == "" {
		o.ListenAddr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(o.ListenAddr)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", o.ListenAddr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen address %q: want a loopback address: the embedded broker speaks no TLS (use Kafka to serve other machines)",
			o.ListenAddr)
	}
	if o.sys == nil {
		o.sys = osSyscalls()
	}
	return nil
}

// Addrs returns the host:port addresses to connect to.
func (b *Broker) Addrs() []string { return append([]string(nil), b.addrs...) }

// Credentials returns the user and password of this start, for SCRAM-SHA-256.
func (b *Broker) Credentials() (string, string) { return user, b.password }

// Serving returns what another process of this user needs to connect.
func (b *Broker) Serving() datadir.Broker {
	fsync := FsyncGroup
	if b.syncer == nil {
		fsync = FsyncNone
	}
	return datadir.Broker{
		Addrs: b.Addrs(), User: user, Password: datadir.Secret(b.password), Fsync: string(fsync), Unclean: b.unclean,
	}
}

// ClientOpts returns what a client needs to connect.
func (b *Broker) ClientOpts() []kgo.Opt { return ClientOpts(b.Serving()) }

// ClientOpts returns what a client needs to connect to the broker of another process, as its serving.json
// tells it. Telemetry is off: kfake would throw it away, and each Close would wait for it.
func ClientOpts(s datadir.Broker) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(s.Addrs...),
		kgo.SASL(scram.Auth{User: s.User, Pass: s.Password.Reveal()}.AsSha256Mechanism()),
		kgo.DisableClientMetrics(),
	}
}

// Unclean says that the last stop was not clean: what was in flight then may be seen again.
func (b *Broker) Unclean() bool { return b.unclean }

// Sync returns nil once everything that the broker wrote to files before the call is on disk. Callers
// share syncs: one that arrives while a sync runs waits for the next, with all others that do. With
// FsyncNone it returns at once. After a failed write or sync it fails always, because nobody can say any
// more what is on disk: the process must end, and start again from what the disk holds.
//
// What was acknowledged to a client before the call counts as written. New topics count too: they are
// durable only after a Sync.
func (b *Broker) Sync(ctx context.Context) error {
	select {
	case <-b.failed:
		return b.failure
	default:
	}
	if b.syncer == nil {
		return nil
	}
	return b.syncer.wait(ctx)
}

// Run returns when ctx ends (nil), or with the write or sync that failed, after which the broker must not
// be trusted. It does not close the broker.
func (b *Broker) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-b.failed:
		return b.failure
	}
}

func (b *Broker) fail(err error) {
	b.failOnce.Do(func() {
		b.failure = fmt.Errorf("embedded broker: %w: what is on disk is uncertain, so nothing more is acknowledged: "+
			"check the disk (full? failing?) under %q and start again", err, b.dir)
		close(b.failed)
	})
}

// Close stops serving, writes what a clean stop writes, syncs it, and marks the stop as clean. Requests
// that were not answered may or may not have been carried out. It is safe to call it twice.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() { b.closeErr = b.stop() })
	return b.closeErr
}

func (b *Broker) stop() error {
	b.cluster.Close()
	// Also with FsyncNone: kfake does not sync its segments when it stops.
	err := b.final.wait(context.Background())
	err = errors.Join(err, b.final.close())
	select {
	case <-b.failed:
		return b.failure
	default:
	}
	if err != nil {
		return fmt.Errorf("embedded broker: stop: %w", err)
	}
	if err := markClean(b.dir); err != nil {
		return fmt.Errorf("embedded broker: mark the stop as clean: %w", err)
	}
	return nil
}
