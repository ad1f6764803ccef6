package router

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hookledger/ledger"
	"hookledger/projections/subscriptions"
)

var (
	randomRounds = flag.Int("router.rounds", 3, "rounds of the random test of the router")
	randomSeed   = flag.Uint64("router.seed", 0, "seed of its first round; 0 draws one")
)

// TestRandom lets several routers work on the same partitions, each believing
// that they are its own: they crash at any moment, their appends are refused or
// their answers lost, their commits come late or not at all, and their
// subscriptions differ from one reading to the next. Afterwards the fold of
// deliveries is what a plain model of events says.
func TestRandom(t *testing.T) {
	seed := *randomSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for i := range *randomRounds {
		t.Run(fmt.Sprint("seed ", seed+uint64(i)), func(t *testing.T) { randomRound(t, seed+uint64(i)) })
	}
}

// wire cuts connections: what was sent on one may have been done or not.
type wire struct {
	mu   sync.Mutex
	rand *rand.Rand
	// one of so many reads fails; 0 is none.
	oneOf atomic.Int64
	cut   atomic.Int64
}

func (w *wire) dial(ctx context.Context, network, host string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	return &wireConn{c, w}, nil
}

type wireConn struct {
	net.Conn
	w *wire
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if of := c.w.oneOf.Load(); of > 0 {
		c.w.mu.Lock()
		cut := c.w.rand.Int64N(of) == 0
		c.w.mu.Unlock()
		if cut {
			c.w.cut.Add(1)
			_ = c.Close()
			return 0, errors.New("cut by the test")
		}
	}
	return n, err
}

// refuse answers a produce request with an error that is not tried again.
func refuse(kreq kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
	req := kreq.(*kmsg.ProduceRequest)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.ProduceResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil, true
}

// lateCommits are the commits of a process that nothing fences.
type lateCommits struct {
	asNobody
	mu   *sync.Mutex
	rand *rand.Rand
}

// Commit commits as for a group without members: at once, late (then perhaps
// backwards), or not at all.
func (c *lateCommits) Commit(ctx context.Context, next map[int32]int64) error {
	c.mu.Lock()
	how, late := c.rand.IntN(10), time.Duration(c.rand.IntN(100))*time.Millisecond
	c.mu.Unlock()
	switch {
	case how == 0:
		return errors.New("not committed by the test")
	case how < 3:
		select {
		case <-time.After(late):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return c.asNobody.Commit(ctx, next)
}

// modelled is what the model says of a record of events.
type modelled int

const (
	isNew modelled = iota
	isRepeat
	isOther
	isInvalid
)

type written struct {
	id   int // negative: invalid
	body int
	hour int64
	free bool // fresh
}

// judgeAll is the model: the rules, over the records of one partition in order.
func judgeAll(records []written) []modelled {
	type first struct {
		body int
		hour int64
	}
	seen := make(map[int]first)
	verdicts := make([]modelled, len(records))
	hour := int64(0)
	for i, w := range records {
		if w.id < 0 {
			verdicts[i] = isInvalid
			continue
		}
		hour = max(hour, w.hour)
		if w.free {
			continue
		}
		f, ok := seen[w.id]
		switch {
		case !ok || f.hour < hour-24:
			seen[w.id] = first{w.body, hour}
		case f.body == w.body:
			verdicts[i] = isRepeat
		default:
			verdicts[i] = isOther
		}
	}
	return verdicts
}

func randomRound(t *testing.T, seed uint64) {
	source := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	r := source(0)
	w := &wire{rand: source(1)}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	o := ledger.Options{Client: []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(w.dial)}, Settings: settings("r.")}
	s := stageOn(t, o)
	s.commitAs(0, 0)
	events, err := s.log.TopicID(t.Context(), ledger.Events)
	if err != nil {
		t.Fatal(err)
	}
	var refusals atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if topics := kreq.(*kmsg.ProduceRequest).Topics; topics[0].TopicID != events && refusals.Add(-1) >= 0 {
			return refuse(kreq)
		}
		return nil, nil, false
	})
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)

	steady, shaky := []byte{2, 4, 6}, []byte{1, 3, 5, 7}
	var commitMu sync.Mutex
	commitRand := source(2)
	type process struct {
		stop func()
		slot int
	}
	var alive []process
	slots := []int{0, 1, 2}
	start := func() {
		slot := slots[0]
		slots = slots[1:]
		l, err := ledger.Open(t.Context(), o)
		if err != nil {
			if w.oneOf.Load() == 0 {
				t.Fatal(err)
			}
			slots = append(slots, slot)
			return
		}
		router := s.router(func(o *Options) {
			o.Log, o.Drain, o.Folder = l, -1, filepath.Join(s.folder, fmt.Sprint(slot))
			o.RepeatsMemory, o.MaxUncommitted = 1, 200
		})
		stop := s.live(router, &lateCommits{asNobody{l}, &commitMu, commitRand})
		alive = append(alive, process{func() { stop(); l.Close() }, slot})
	}
	crash := func() {
		i := r.IntN(len(alive))
		alive[i].stop()
		slots = append(slots, alive[i].slot)
		alive = slices.Delete(alive, i, i+1)
	}
	t.Cleanup(func() {
		for _, p := range alive {
			p.stop()
		}
	})

	records := make([][]written, 2)
	base := noon.UnixMilli() / hourMs
	hour := base
	produce := func() {
		for partition := range int32(2) {
			for range r.IntN(60) {
				wr := written{id: r.IntN(40), body: r.IntN(8) / 7, hour: hour - int64(r.IntN(20)/19), free: r.IntN(10) == 0}
				if r.IntN(20) == 0 {
					wr.id = -1
				}
				e := ev(fmt.Sprint("id-", wr.id), fmt.Sprintf(`{"n":%d}`, wr.body))
				e.Fresh = wr.free
				rec := &kgo.Record{
					Topic: s.log.Name(ledger.Events), Partition: partition, Timestamp: time.UnixMilli(wr.hour*hourMs + r.Int64N(hourMs)),
					Key: e.Key(), Value: e.Data, Headers: e.Headers(),
				}
				if wr.id < 0 {
					rec.Value = []byte("x")
				}
				if err := producer.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
					t.Fatal(err)
				}
				records[partition] = append(records[partition], wr)
			}
		}
	}
	s.hooks.set(hook(2), hook(4), hook(6))
	for range 60 {
		switch r.IntN(8) {
		case 0, 1:
			produce()
		case 2:
			if len(slots) > 0 {
				start()
			}
		case 3:
			if len(alive) > 0 {
				crash()
			}
		case 4:
			refusals.Store(int64(r.IntN(3)))
		case 5:
			w.oneOf.Store([]int64{0, 0, 20, 100}[r.IntN(4)])
		case 6:
			hour += []int64{0, 1, 1, 12, 23, 24, 25, 26}[r.IntN(8)]
		case 7:
			list := []byte{}
			for _, n := range shaky {
				if r.IntN(2) == 0 {
					list = append(list, n)
				}
			}
			s.setHooks(append(list, steady...))
		}
		time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond) // let them work: it is no condition
	}
	w.oneOf.Store(0)
	refusals.Store(0)
	for len(alive) > 0 {
		crash()
	}
	start()
	s.routed()
	crash()
	checkRound(t, s, records, steady)
	t.Logf("%d and %d events, %d connections cut", len(records[0]), len(records[1]), w.cut.Load())
}

func (s *stage) setHooks(numbers []byte) {
	var list []*subscriptions.Webhook
	for _, n := range numbers {
		list = append(list, hook(n))
	}
	s.hooks.set(list...)
}

// checkRound compares the fold of deliveries and the dead letters with the model.
func checkRound(t *testing.T, s *stage, records [][]written, steady []byte) {
	t.Helper()
	type pair struct {
		partition int32
		offset    int64
		webhook   byte
	}
	got := make(map[pair]int)
	for _, d := range s.accepted() {
		src := d.GetContent().GetSource()
		got[pair{src.GetPartition(), src.GetOffset(), d.GetSubject().GetWebhookId()[0]}]++
	}
	for p, n := range got {
		if n != 1 {
			t.Errorf("%v was accepted %d times", p, n)
		}
	}
	for partition, list := range records {
		letters := s.letters(int32(partition))
		for offset, verdict := range judgeAll(list) {
			_, letter := letters[fmt.Sprint(offset)]
			if letter != (verdict == isOther || verdict == isInvalid) {
				t.Errorf("events/%d/%d, judged %d by the model: dead letter %v", partition, offset, verdict, letter)
			}
			for webhook := byte(1); webhook < 8; webhook++ {
				n := got[pair{int32(partition), int64(offset), webhook}]
				switch {
				case verdict == isNew && slices.Contains(steady, webhook) && n != 1:
					t.Errorf("events/%d/%d to webhook %d: accepted %d times", partition, offset, webhook, n)
				case verdict != isNew && n != 0:
					t.Errorf("events/%d/%d, judged %d by the model, was accepted for webhook %d", partition, offset, verdict, webhook)
				}
			}
		}
	}
}
