package broker_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
)

// A session timeout that no test lives to see: who waits for it fails.
const sessionTimeout = 4 * time.Minute

// join starts a member of the group that never says goodbye, and waits until it owns the topic.
func join(t *testing.T, b *broker.Broker, topic string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	owned := make(chan map[string][]int32, 16)
	cl := brokertest.Client(t, b, append([]kgo.Opt{
		kgo.ConsumerGroup("g"), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(sessionTimeout), kgo.HeartbeatInterval(time.Second), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { owned <- m }),
	}, opts...)...)
	go func() {
		for !cl.PollFetches(t.Context()).IsClientClosed() && t.Context().Err() == nil {
		}
	}()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case m := <-owned:
			if len(m[topic]) > 0 {
				return cl
			}
		case <-deadline:
			t.Fatal("no partitions after 10 s")
		}
	}
}

// The members of a group end with the process that holds the broker, so whoever joins after a start owns all
// at once, however the process ended: no session timeout is waited for.
func TestNoDeadMembersAfterAStart(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]kgo.Opt{"static": {kgo.InstanceID("n1")}, "dynamic": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			b, stop := open(t, path, broker.Options{})
			topic := brokertest.Topic(t, b, "a", 4)
			join(t, b, topic, opts...)
			killed := afterKill(t, path)
			stop() // the member did not leave

			for how, path := range map[string]string{"stopped": path, "killed": killed} {
				b, _ := open(t, path, broker.Options{})
				start := time.Now()
				join(t, b, topic, opts...)
				t.Logf("%s: owner %v after the start", how, time.Since(start))
			}
		})
	}
}

// A static member that died is replaced at once by the next that bears its name, and a heartbeat of the old
// one is answered with the reason. kgo's hooks report that heartbeat as a success: a lease must come from
// heartbeats whose answer is read, as here.
func TestStaticMemberIsReplaced(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, broker.Options{})
	topic := brokertest.Topic(t, b, "a", 4)
	old := join(t, b, topic, kgo.InstanceID("n1"))
	member, generation := old.GroupMetadata()
	heartbeat := func() error {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation, req.InstanceID = "g", member, generation, kmsg.StringPtr("n1")
		resp, err := req.RequestWith(testContext(t), old)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	}
	if err := heartbeat(); err != nil {
		t.Errorf("of the owner: %v", err)
	}
	start := time.Now()
	join(t, b, topic, kgo.InstanceID("n1"))
	t.Logf("replaced after %v", time.Since(start))
	if err := heartbeat(); !errors.Is(err, kerr.FencedInstanceID) {
		t.Errorf("of the replaced one: %v, want %v", err, kerr.FencedInstanceID)
	}
}

// Session timeouts of a few seconds are allowed, though kfake's least is 6 s.
func TestShortSessions(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, broker.Options{})
	topic := brokertest.Topic(t, b, "a", 1)
	join(t, b, topic, kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(200*time.Millisecond))
}
