package ledger_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
)

// member is a member of a group and what it was told.
type member struct {
	*ledger.Group

	mu         sync.Mutex
	owned      []int32
	generation int32
	beats      []time.Time
}

func join(t testing.TB, l *ledger.Log, instance string, session time.Duration) *member {
	t.Helper()
	m := new(member)
	g, err := l.Join(ledger.GroupOptions{
		Name: "workers", Topic: ledger.Deliveries, Instance: instance, Session: session,
		OnAssigned: func(partitions []int32, generation int32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.owned = append(m.owned, partitions...)
			m.generation = generation
		},
		OnLost: func(partitions []int32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.owned = slices.DeleteFunc(m.owned, func(p int32) bool { return slices.Contains(partitions, p) })
		},
		OnHeartbeat: func(sent time.Time) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.beats = append(m.beats, sent)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Group = g
	t.Cleanup(g.Close)
	return m
}

func (m *member) owns() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(slices.Values(m.owned))
}

func (m *member) lastBeat() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.beats) == 0 {
		return time.Time{}
	}
	return m.beats[len(m.beats)-1]
}

var three = []int32{0, 1, 2}

func TestGroupSharesPartitions(t *testing.T) {
	t.Parallel()
	l := ready(t)
	a := join(t, l, "a", 0)
	eventually(t, "the only member owns all", func() bool { return slices.Equal(a.owns(), three) })
	joined := time.Now()
	eventually(t, "a heartbeat is answered", func() bool { return !a.lastBeat().IsZero() })
	if took := time.Since(joined); took > 700*time.Millisecond {
		t.Errorf("the first heartbeat took %v", took)
	}
	b := join(t, l, "b", 0)
	eventually(t, "two members share", func() bool {
		both := slices.Sorted(slices.Values(slices.Concat(a.owns(), b.owns())))
		return len(a.owns()) > 0 && len(b.owns()) > 0 && slices.Equal(both, three)
	})
	if a.generation >= b.generation && b.generation == 0 {
		t.Errorf("generations %d and %d", a.generation, b.generation)
	}
	// A static member that is closed keeps its partitions; the other one goes on.
	b.Close()
	if got := b.owns(); len(got) != 0 {
		t.Errorf("after Close it still owns %v", got)
	}
	was := b.lastBeat()
	now := time.Now()
	eventually(t, "heartbeats go on, each second", func() bool { return a.lastBeat().After(now.Add(time.Second)) })
	if !b.lastBeat().Equal(was) {
		t.Error("a closed member had heartbeats")
	}
}

func TestStaticMemberComesBackQuickly(t *testing.T) {
	t.Parallel()
	l := ready(t)
	first := join(t, l, "node-1", 30*time.Second)
	eventually(t, "it owns all", func() bool { return slices.Equal(first.owns(), three) })
	first.Close()
	again := time.Now()
	second := join(t, l, "node-1", 30*time.Second)
	eventually(t, "it owns all again", func() bool { return slices.Equal(second.owns(), three) })
	if took := time.Since(again); took > 5*time.Second { // a session is 30
		t.Errorf("it took %v", took)
	}
}

// A second process under the same name takes over: what the first commits
// afterwards is refused, and its heartbeats prove nothing.
func TestFencedMemberCanNotCommit(t *testing.T) {
	t.Parallel()
	l := ready(t)
	old := join(t, l, "node-1", 0)
	eventually(t, "the old one owns all", func() bool { return slices.Equal(old.owns(), three) })
	if err := old.Commit(t.Context(), map[int32]int64{0: 5, 1: 6}); err != nil {
		t.Fatal(err)
	}
	now := join(t, l, "node-1", 0)
	eventually(t, "the new one owns all", func() bool { return slices.Equal(now.owns(), three) })
	fenced := time.Now()
	if err := old.Commit(t.Context(), map[int32]int64{0: 7}); err == nil {
		t.Error("the old one could commit")
	}
	if err := now.Commit(t.Context(), map[int32]int64{1: 8}); err != nil {
		t.Error(err)
	}
	got, err := l.Committed(t.Context(), "workers", ledger.Deliveries)
	if err != nil || len(got) != 2 || got[0] != 5 || got[1] != 8 {
		t.Errorf("committed %v, %v", got, err)
	}
	eventually(t, "the new one has two heartbeats", func() bool { return now.lastBeat().After(fenced.Add(time.Second)) })
	if beat := old.lastBeat(); beat.After(fenced) {
		t.Errorf("the old one took a heartbeat for answered %v after it was fenced", beat.Sub(fenced))
	}
}

func TestInitialCommits(t *testing.T) {
	t.Parallel()
	l := ready(t)
	if got, err := l.Committed(t.Context(), "workers", ledger.Deliveries); err != nil || len(got) != 0 {
		t.Errorf("before any: %v, %v", got, err)
	}
	if err := l.CommitAs(t.Context(), "workers", map[ledger.Topic]map[int32]int64{ledger.Deliveries: {0: 0, 2: 9}}); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Committed(t.Context(), "workers", ledger.Deliveries); err != nil || len(got) != 2 || got[0] != 0 || got[2] != 9 {
		t.Errorf("committed %v, %v", got, err)
	}
	m := join(t, l, "node-1", 0)
	eventually(t, "it owns all", func() bool { return slices.Equal(m.owns(), three) })
	if err := l.CommitAs(t.Context(), "workers", map[ledger.Topic]map[int32]int64{ledger.Deliveries: {0: 1}}); err == nil {
		t.Error("a commit for a living group succeeded")
	}
	other := small(brokertest.Prefix(t))
	if got, err := node(t, other).Committed(t.Context(), "workers", ledger.Deliveries); err != nil || len(got) != 0 {
		t.Errorf("under another prefix: %v, %v", got, err)
	}
}

func TestCommitWithoutBroker(t *testing.T) {
	t.Parallel()
	l := ready(t)
	m := join(t, l, "", 0)
	eventually(t, "it owns all", func() bool { return slices.Equal(m.owns(), three) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Commit(ctx, map[int32]int64{0: 1}); err == nil {
		t.Error("a commit with an ended context succeeded")
	}
}
