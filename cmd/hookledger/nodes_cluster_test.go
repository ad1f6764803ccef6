package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/datadir"
	"hookledger/ledger"
)

// cluster is three nodes on one broker: the first has it, the others join.
type cluster struct {
	t     *testing.T
	nodes [3]*server
	flags []string
}

// clusterRoles spread the work: every role is on two nodes at least.
var clusterRoles = [3]string{"api,router,historian", "api,router,dispatcher,historian", "api,router,dispatcher"}

// startCluster runs three nodes until the test ends.
func startCluster(t *testing.T, flags ...string) *cluster {
	t.Helper()
	dir := newDataDir(t)
	c := &cluster{t: t, flags: append(append([]string{}, openFlags...), flags...)}
	t.Cleanup(c.stop)
	for n := range c.nodes {
		c.nodes[n] = &server{dir: filepath.Join(filepath.Dir(dir), fmt.Sprintf("node%d", n))}
		c.launch(n)
	}
	for n := range c.nodes {
		c.ready(n)
	}
	return c
}

// launch starts a node; those that join wait for the first by themselves.
func (c *cluster) launch(n int) {
	c.t.Helper()
	flags := append([]string{"--node", fmt.Sprintf("node%d", n), "--roles", clusterRoles[n]}, c.flags...)
	if n > 0 {
		flags = append(flags, "--join", c.nodes[0].dir)
	}
	s, err := launch(c.nodes[n].dir, flags...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[n] = s
}

func (c *cluster) ready(n int) {
	c.t.Helper()
	if err := c.nodes[n].ready(c.t.Context()); err != nil {
		c.t.Fatalf("node %d: %v", n, err)
	}
}

// hang stops a node in the middle of whatever it does; wake lets it go on.
func (c *cluster) hang(n int) {
	c.t.Helper()
	if err := c.nodes[n].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) wake(n int) {
	c.t.Helper()
	if err := c.nodes[n].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		c.t.Fatal(err)
	}
}

// stop ends all nodes, the first last.
func (c *cluster) stop() {
	var failed error
	for n := len(c.nodes) - 1; n >= 0; n-- {
		s := c.nodes[n]
		if s == nil || s.cmd == nil {
			continue
		}
		select {
		case <-s.exited:
			failed = errors.Join(failed, s.sound())
			continue
		default:
		}
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
		if c.t.Failed() && n > 0 {
			s.kill()
			continue
		}
		if err := s.stop(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("node %d: %w", n, err))
		}
	}
	if failed != nil {
		c.t.Error(failed)
	}
}

// as is a caller of each node with the same credential.
func (c *cluster) as(t testing.TB, credential string) [3]*caller {
	var all [3]*caller
	for n, s := range c.nodes {
		all[n] = s.as(t, credential)
	}
	return all
}

// log is a client of a server's broker, for a test that looks at the log itself.
func (s *server) log(t *testing.T) *ledger.Log {
	t.Helper()
	served, err := datadir.ReadServing(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), ledger.Options{
		Client: broker.ClientOpts(served.Broker), Settings: ledger.EmbeddedSettings("hl."),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	return log
}
