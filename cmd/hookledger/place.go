package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/datadir"
	"hookledger/deploy/embedded/engine"
	"hookledger/ledger"
	"hookledger/ledger/secrets"
)

// place is where log and history are: the embedded broker and engine of a data
// folder that this process holds, those of another process that holds it, or
// Kafka and ClickHouse.
type place struct {
	cfg    *config
	log    *slog.Logger
	dir    *datadir.Dir     // held by this process, or nil
	served *datadir.Serving // by another process that holds the folder, or nil
	broker *broker.Broker   // embedded, in this process, or nil
	engine *engine.Engine   // likewise

	join    *join           // the node whose broker and engine this one uses, or nil
	first   datadir.Serving // of that node, when this one began
	outside *broker.Outside // syncs its broker's files, or nil
}

// errNeedsFolder is returned when another process holds the data folder and the
// command can't share it.
var errNeedsFolder = errors.New("the data folder is in use")

// openPlace takes the data folder. If another process serves it, a command that
// may share uses that process's broker and engine instead.
func openPlace(cfg *config, log *slog.Logger, share bool) (*place, error) {
	p := &place{cfg: cfg, log: log}
	if cfg.join != "" {
		to, err := filepath.Abs(cfg.join)
		if err != nil {
			return nil, fmt.Errorf("--join: %w", err)
		}
		p.join = &join{dir: to}
	}
	dir, err := datadir.Open(cfg.dataDir)
	if err == nil {
		p.dir = dir
		if err := p.checkJoin(); err != nil {
			return nil, errors.Join(err, dir.Close())
		}
		return p, nil
	}
	if _, ok := errors.AsType[*datadir.LockedError](err); !ok {
		return nil, err
	}
	if !share {
		return nil, fmt.Errorf("%w: %w", errNeedsFolder, err)
	}
	served, readErr := datadir.ReadServing(cfg.dataDir)
	if readErr == nil && served.Joined != "" {
		served, readErr = datadir.ReadServing(served.Joined)
	}
	if readErr != nil {
		return nil, fmt.Errorf("%w; and where it serves could not be read: %w", err, readErr)
	}
	p.served = &served
	return p, nil
}

// keysPath is the file of the key set.
func (p *place) keysPath() string {
	dir := p.cfg.dataDir
	if to, err := os.ReadFile(filepath.Join(dir, joinedFile)); err == nil {
		dir = string(to)
	}
	return filepath.Join(dir, "keys", "secrets.json")
}

// secretsEnv may hold the key set's text instead of a file.
const secretsEnv = "HOOKLEDGER_SECRETS"

// secrets loads the key set, or makes it where there is none yet. It is not made
// beside a log that has webhooks: it could open nothing of it.
func (p *place) secrets(fresh bool) (*secrets.Set, error) {
	if text, ok := os.LookupEnv(secretsEnv); ok {
		set, err := secrets.Parse([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("read the key set from %s: %w", secretsEnv, err)
		}
		return set, nil
	}
	path := p.keysPath()
	set, err := secrets.Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return set, err
	}
	if !fresh {
		return nil, fmt.Errorf("the key file %s is missing, and the log has webhooks or API keys that only its keys open: put it back from the backup: %w", path, fs.ErrNotExist)
	}
	set, _, err = secrets.LoadOrCreate(path, rand.Reader)
	return set, err
}

// startBroker starts the embedded broker, if the log is on it.
func (p *place) startBroker(ctx context.Context, observe func(time.Duration, int), watch func() func()) error {
	if !p.cfg.embeddedBroker() || p.dir == nil {
		return nil
	}
	var err error
	if p.join != nil {
		p.outside, err = broker.SyncOutside(p.join.dir, broker.Fsync(p.first.Broker.Fsync), p.log, observe)
		return err
	}
	p.broker, err = broker.Start(ctx, broker.Options{
		Dir: p.dir, Fsync: broker.Fsync(p.cfg.fsync), Logger: p.log.With("part", "broker"), ObserveSync: observe,
		WatchSync: watch,
	})
	return err
}

// openLog connects to the log.
func (p *place) openLog(ctx context.Context, hooks func(client string) []kgo.Hook) (*ledger.Log, error) {
	o := ledger.Options{Settings: p.cfg.settings(), Logger: quiet(p.log.With("part", "kafka")), Hooks: hooks}
	switch {
	case !p.cfg.embeddedBroker():
		o.Client = []kgo.Opt{kgo.SeedBrokers(p.cfg.brokers...)}
	case p.outside != nil:
		o.Client, o.Sync = broker.Follow(p.join.broker), p.outside.Sync
	case p.broker != nil:
		o.Client, o.Sync = p.broker.ClientOpts(), p.broker.Sync
	default:
		o.Client = broker.ClientOpts(p.served.Broker)
	}
	return ledger.Open(ctx, o)
}

// startEngine starts the embedded engine, if the history is in it.
func (p *place) startEngine(ctx context.Context) error {
	if !p.cfg.embeddedEngine() || p.dir == nil || p.join != nil {
		return nil
	}
	lib, err := p.library()
	if err != nil {
		return err
	}
	p.engine, err = engine.Start(ctx, engine.Options{
		LibPath: lib, DataDir: p.dir.Engine(), Fsync: p.cfg.fsync != string(broker.FsyncNone), Logger: p.log.With("part", "engine"),
	})
	return err
}

// syncHistory returns when what the history has acknowledged survives a power cut.
func (p *place) syncHistory(ctx context.Context) error {
	if p.engine == nil || p.cfg.fsync == string(broker.FsyncNone) {
		return nil
	}
	return p.engine.Sync(ctx)
}

// library finds libchdb: as the operator says, else beside the program.
func (p *place) library() (string, error) {
	if p.cfg.engineLib != "" {
		if _, err := os.Stat(p.cfg.engineLib); err != nil {
			return "", fmt.Errorf("--engine-lib: %w", err)
		}
		return p.cfg.engineLib, nil
	}
	dirs := []string{filepath.Join("deploy", "embedded")}
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			base := filepath.Dir(exe)
			dirs = append(dirs, base, filepath.Join(base, "..", "deploy", "embedded"), filepath.Join(base, "..", "lib", "hookledger"))
		}
	}
	return engine.FindLibrary(dirs...)
}

// Users of the embedded engine.
const (
	userService = "service"
	userAuditor = "auditor"
)

// dsn is how the history is reached as a user.
func (p *place) dsn(user string) string {
	switch {
	case !p.cfg.embeddedEngine():
		return p.cfg.clickhouseDSN
	case p.join != nil:
		return joinedDSN(user)
	case p.engine != nil:
		return p.engine.DSN(user)
	default:
		return "http://" + user + ":" + p.served.Engine.Users[user].Reveal() + "@" + p.served.Engine.Addr + "/default"
	}
}

// close ends what this place started, the folder last.
func (p *place) close() error {
	var err error
	if p.engine != nil {
		p.engine.Close()
	}
	if p.broker != nil {
		err = p.broker.Close()
	}
	if p.outside != nil {
		err = errors.Join(err, p.outside.Close())
	}
	if p.dir != nil {
		err = errors.Join(err, p.dir.Close())
	}
	return err
}
