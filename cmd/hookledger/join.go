package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hookledger/deploy/embedded/datadir"
)

// join is the node, in another process of this user on this machine, whose
// embedded broker and engine this node uses (serve --join). Both get another
// address and password at each of its starts, so it is asked again at each
// connection: this node goes on when the other one is back.
type join struct {
	dir string // its data folder

	mu   sync.Mutex
	seen os.FileInfo // of serving.json when it was read
	last datadir.Serving
}

// joinPause is between two looks whether the other node serves.
const joinPause = 50 * time.Millisecond

// await waits until the other node serves.
func (j *join) await(ctx context.Context, log *slog.Logger) (datadir.Serving, error) {
	said := false
	for {
		s, err := j.find()
		if err == nil || !errors.Is(err, datadir.ErrNotServing) {
			return s, err
		}
		if !said {
			log.Info("waiting for the node that is to be joined", "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return s, err
		case <-time.After(joinPause):
		}
	}
}

// find reads where the other node serves, if that changed.
func (j *join) find() (datadir.Serving, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now, err := os.Stat(filepath.Join(j.dir, "serving.json"))
	if err == nil && j.seen != nil && os.SameFile(j.seen, now) && j.seen.ModTime().Equal(now.ModTime()) {
		return j.last, nil
	}
	s, err := datadir.ReadServing(j.dir)
	if err != nil {
		return s, fmt.Errorf("--join: %w", err)
	}
	if s.Joined != "" {
		return s, fmt.Errorf("--join: the node in %q has joined another one itself: join that one, --join %s", j.dir, s.Joined)
	}
	j.seen, j.last = now, s
	return s, nil
}

// broker says where its broker is now.
func (j *join) broker() (datadir.Broker, error) {
	s, err := j.find()
	return s.Broker, err
}

// joinedHost stands in the DSN for the engine of the node that is joined.
const joinedHost = "joined.invalid"

// transport sends the history's requests to where its engine is now.
func (j *join) transport(to *http.Transport) (http.RoundTripper, error) {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		s, err := j.find()
		if err != nil {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return nil, err
		}
		req = req.Clone(req.Context())
		req.URL.Host, req.Host = s.Engine.Addr, s.Engine.Addr
		req.URL.User = nil
		req.SetBasicAuth(userService, s.Engine.Users[userService].Reveal())
		return to.RoundTrip(req)
	}), nil
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// joinedFile is in the data folder of a node that joins, and says which one: so
// that no command takes the folder for an empty log.
const joinedFile = "joined"

// checkJoin sees to it that a folder has either a log of its own or a node to join.
func (p *place) checkJoin() error {
	mark := filepath.Join(p.dir.Path(), joinedFile)
	if p.join == nil {
		to, err := os.ReadFile(mark)
		if errors.Is(err, fs.ErrNotExist) || !p.cfg.embeddedBroker() {
			return nil
		}
		return errors.Join(err, fmt.Errorf("the data folder %q is of a node that joins the one in %q, and holds no log: use --data-dir %s, or serve with --join", p.dir.Path(), to, to))
	}
	if _, err := os.Stat(filepath.Join(p.dir.Broker(), "meta.json")); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("--join: the data folder %q holds a log of its own, which would lie unread: give a --data-dir of its own to a node that joins", p.dir.Path()))
	}
	return datadir.WriteFile(mark, []byte(p.join.dir))
}

// follow waits for the node to join, and checks that this one can work beside it.
func (p *place) follow(ctx context.Context) error {
	if p.join == nil {
		return nil
	}
	s, err := p.join.await(ctx, p.log)
	if err != nil {
		return err
	}
	switch {
	case p.cfg.embeddedBroker() && len(s.Broker.Addrs) == 0:
		return fmt.Errorf("--join: the node in %q has no embedded broker: give --kafka-brokers as it has them", p.join.dir)
	case p.cfg.embeddedEngine() && s.Engine.Addr == "":
		return fmt.Errorf("--join: the node in %q has no embedded engine: give --clickhouse-dsn as it has it", p.join.dir)
	case s.Node == p.cfg.nodeName():
		return fmt.Errorf("--node: the node in %q is called %q too, and each would take the other's place: give this one another name", p.join.dir, s.Node)
	}
	p.first = s
	return nil
}

// nodeName is this node's name in groups and owner records.
func (c *config) nodeName() string {
	if c.node != "" {
		return c.node
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "node"
	}
	if c.join != "" { // beside another on the same host
		path, err := filepath.Abs(c.dataDir)
		if err != nil {
			path = c.dataDir
		}
		sum := sha256.Sum256([]byte(path))
		name += "-" + hex.EncodeToString(sum[:4])
	}
	return name
}

// joinedDSN is the DSN of the joined node's engine; transport knows the rest.
func joinedDSN(user string) string {
	return (&url.URL{Scheme: "http", User: url.UserPassword(user, "of-the-joined"), Host: joinedHost, Path: "/default"}).String()
}
