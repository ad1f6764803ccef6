package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// GroupOptions say how to join a group that shares out the partitions of one topic.
type GroupOptions struct {
	// Name of the group, without the topics' prefix.
	Name string
	// Topic whose partitions are shared out.
	Topic Topic
	// Instance makes the member a static one (KIP-345): a restart under the same
	// name takes its partitions back without a rebalance.
	Instance string
	// Session is how long the group waits for a silent member (default 10 s).
	Session time.Duration
	// OnAssigned and OnLost tell of partitions. They run one at a time and hold
	// up the group: they must return soon. OnLost covers revoked ones too.
	OnAssigned func(partitions []int32, generation int32)
	OnLost     func(partitions []int32)
	// OnHeartbeat is called when a heartbeat was answered, with the time it was
	// sent: then this member belonged to the group's generation, and none of its
	// partitions goes to another within Session of that time.
	OnHeartbeat func(sent time.Time)
}

// Group is a member of a classic consumer group. It shares out partitions and
// keeps commits; records are read by a Reader, because a group's own fetching
// would start wherever it likes.
type Group struct {
	log    *Log
	opts   GroupOptions
	client *kgo.Client
	cancel context.CancelFunc
	beats  sync.WaitGroup
	named  chan struct{} // the group has named partitions: ask at once
}

// groupName is the group's name on the broker.
func (l *Log) groupName(name string) string { return l.settings.Prefix + name }

// Join joins a group. Close leaves it.
func (l *Log) Join(o GroupOptions) (*Group, error) {
	if o.Session == 0 {
		o.Session = 10 * time.Second
	}
	g := &Group{log: l, opts: o, named: make(chan struct{}, 1)}
	name := l.Name(o.Topic)
	opts := []kgo.Opt{
		kgo.ConsumerGroup(l.groupName(o.Name)),
		kgo.ConsumeTopics(name),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(o.Session),
		kgo.RebalanceTimeout(o.Session),
		kgo.HeartbeatInterval(heartbeatEvery),
		kgo.OnPartitionsAssigned(func(_ context.Context, c *kgo.Client, m map[string][]int32) {
			if ps := m[name]; len(ps) > 0 {
				_, generation := c.GroupMetadata()
				o.OnAssigned(ps, generation)
				select {
				case g.named <- struct{}{}:
				default:
				}
			}
		}),
	}
	lost := func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
		if ps := m[name]; len(ps) > 0 {
			o.OnLost(ps)
		}
	}
	opts = append(opts, kgo.OnPartitionsRevoked(lost), kgo.OnPartitionsLost(lost))
	if o.Instance != "" {
		opts = append(opts, kgo.InstanceID(o.Instance))
	}
	client, err := l.newClient("group-"+o.Name, opts...)
	if err != nil {
		return nil, err
	}
	client.PauseFetchTopics(name)
	g.client = client
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	if o.OnHeartbeat != nil {
		g.beats.Go(func() { g.heartbeats(ctx) })
	}
	return g, nil
}

// heartbeatEvery is how often a member shows that it is there.
const heartbeatEvery = time.Second

// heartbeats asks the coordinator whether this member still belongs to the
// group's generation. The client sends heartbeats too, but tells nobody how they
// were answered: an answer that says "unknown member" would pass for proof.
func (g *Group) heartbeats(ctx context.Context) {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-g.named:
		}
		member, generation := g.client.GroupMetadata()
		if member == "" {
			continue
		}
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group = g.log.groupName(g.opts.Name)
		req.MemberID, req.Generation = member, generation
		if g.opts.Instance != "" {
			req.InstanceID = &g.opts.Instance
		}
		sent := time.Now()
		asking, cancel := context.WithTimeout(ctx, g.opts.Session)
		resp, err := req.RequestWith(asking, g.client)
		cancel()
		// While the group rebalances the answer is an error, and rightly: a member
		// that doesn't join in time loses its partitions at any moment.
		if err == nil && resp.ErrorCode == 0 {
			g.opts.OnHeartbeat(sent)
		}
	}
}

// Joined says whether this member is in the group, with partitions or without.
func (g *Group) Joined() bool {
	member, generation := g.client.GroupMetadata()
	return member != "" && generation >= 0
}

// Commit records, for each partition, the offset to be read next. It fails
// when this member no longer belongs to the group.
func (g *Group) Commit(ctx context.Context, next map[int32]int64) error {
	offsets := make(map[int32]kgo.EpochOffset, len(next))
	for p, at := range next {
		offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	var failed error
	g.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{g.log.Name(g.opts.Topic): offsets}, func(
		_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error,
	) {
		failed = err
		if err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = errors.Join(failed, fmt.Errorf("partition %d: %w", p.Partition, err))
				}
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("commit to group %q: %w", g.log.groupName(g.opts.Name), failed)
	}
	return nil
}

// Close leaves the group, unless the member is a static one: that keeps its
// partitions for its next start, until the session times out.
func (g *Group) Close() {
	g.cancel()
	g.client.Close()
	g.beats.Wait()
}

// Committed is what a group has committed for the partitions of a topic.
// Partitions without a commit are not in it.
func (l *Log) Committed(ctx context.Context, group string, t Topic) (map[int32]int64, error) {
	resp, err := l.admin.FetchOffsets(ctx, l.groupName(group))
	if err == nil {
		err = resp.Error()
	}
	if errors.Is(err, kerr.GroupIDNotFound) { // nobody has committed anything yet
		return map[int32]int64{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the commits of group %q: %w", l.groupName(group), err)
	}
	found := make(map[int32]int64)
	for p, o := range resp.Offsets()[l.Name(t)] {
		found[p] = o.At
	}
	return found, nil
}

// Members is how many members a group has now, on whichever node.
func (l *Log) Members(ctx context.Context, group string) (int, error) {
	found, err := l.admin.DescribeGroups(ctx, l.groupName(group))
	if err != nil {
		return 0, fmt.Errorf("ask who is in group %q: %w", l.groupName(group), err)
	}
	d := found[l.groupName(group)]
	if d.Err != nil && !errors.Is(d.Err, kerr.GroupIDNotFound) {
		return 0, fmt.Errorf("ask who is in group %q: %w", l.groupName(group), d.Err)
	}
	return len(d.Members), nil
}

// CommitAs commits for a group that has no members: the first commits of one
// that nobody has joined yet, or places that are only to be seen.
func (l *Log) CommitAs(ctx context.Context, group string, next map[Topic]map[int32]int64) error {
	var out kadm.Offsets
	for t, partitions := range next {
		for p, at := range partitions {
			out.AddOffset(l.Name(t), p, at, -1)
		}
	}
	resp, err := l.admin.CommitOffsets(ctx, l.groupName(group), out)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return fmt.Errorf("commit for group %q: %w", l.groupName(group), err)
	}
	return nil
}
