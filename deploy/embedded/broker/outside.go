package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"hookledger/deploy/embedded/datadir"
)

// Follow returns what a client in another process needs to connect to an embedded broker, and to find it
// again after that was started anew with another address and password: find is asked at each connection.
// It is called concurrently.
func Follow(find func() (datadir.Broker, error)) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers("127.0.0.1:9092"), // never dialled: the dialer asks where the broker is
		kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			at, err := find()
			if err != nil {
				return nil, err
			}
			if len(at.Addrs) == 0 {
				return nil, errors.New("the embedded broker has not said where it is")
			}
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, at.Addrs[0])
		}),
		kgo.SASL(scram.Sha256(func(context.Context) (scram.Auth, error) {
			at, err := find()
			return scram.Auth{User: at.User, Pass: at.Password.Reveal()}, err
		})),
		kgo.DisableClientMetrics(),
	}
}

// The broker is on this machine.
const dialTimeout = 5 * time.Second

// Outside syncs the files of a broker that another process of this machine runs. What that broker has
// acknowledged lies in the page cache, which is one for all processes: so any of them can bring it to the
// disk, and a process that acknowledges events must. It promises what [Broker.Sync] does.
type Outside struct {
	syncer   *syncer // nil with FsyncNone
	failOnce sync.Once
	failed   chan struct{}
	failure  error
}

// SyncOutside opens the broker's files in the data folder of another process. Close it.
func SyncOutside(dataDir string, mode Fsync, log *slog.Logger, observe func(time.Duration, int)) (*Outside, error) {
	o := &Outside{failed: make(chan struct{})}
	switch mode {
	case FsyncNone:
		return o, nil
	case FsyncGroup:
	default:
		return nil, fmt.Errorf("the broker in %q syncs by the mode %q, which this program does not know: use the same version on all nodes", dataDir, mode)
	}
	dir := filepath.Join(dataDir, "broker")
	var err error
	o.syncer, err = newSyncer(dir, Options{Fsync: mode, Logger: log, ObserveSync: observe, sys: osSyscalls()}, nil, func(err error) {
		o.failOnce.Do(func() {
			o.failure = fmt.Errorf("sync the broker's files in %q: %w: nothing more is acknowledged: check the disk and start again", dir, err)
			close(o.failed)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("sync the broker's files in %q: %w", dir, err)
	}
	return o, nil
}

// Sync returns nil once everything that the broker acknowledged before the call is on disk.
func (o *Outside) Sync(ctx context.Context) error {
	if o.syncer == nil {
		return nil
	}
	return o.syncer.wait(ctx)
}

// Run returns when ctx ends (nil), or with the sync that failed.
func (o *Outside) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-o.failed:
		return o.failure
	}
}

// Close gives the descriptors back.
func (o *Outside) Close() error {
	if o.syncer == nil {
		return nil
	}
	return o.syncer.close()
}
