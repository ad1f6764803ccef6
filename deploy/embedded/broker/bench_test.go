package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
)

// modes are the ways to acknowledge that the benchmarks compare.
var modes = []struct {
	name string
	opts broker.Options
}{
	{"none", broker.Options{Fsync: broker.FsyncNone}},
	{"auto", broker.Options{}},
	{"syncfs", broker.Options{Strategy: broker.StrategySyncFS}},
	{"files", broker.Options{Strategy: broker.StrategyFiles}},
}

// writeBeside writes so many MB/s to the same file system until the benchmark ends, as the engine does when
// it inserts and merges: large files, removed after a while.
func writeBeside(b *testing.B, mbs int) {
	b.Helper()
	dir := b.TempDir()
	block := make([]byte, mbs*10_000)
	for i := range block {
		block[i] = byte(rand.Uint32())
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var f *os.File
		for n := 0; ; n++ {
			if n%250 == 0 {
				if f != nil {
					_ = f.Close()
					_ = os.Remove(f.Name())
				}
				var err error
				if f, err = os.CreateTemp(dir, "part"); err != nil {
					b.Error(err)
					return
				}
			}
			if _, err := f.Write(block); err != nil {
				b.Error(err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				_ = f.Close()
				return
			}
		}
	})
	b.Cleanup(func() { cancel(); wg.Wait() })
}

func eachMode(b *testing.B, run func(b *testing.B, br *broker.Broker, cl *kgo.Client, syncs *atomic.Int64)) {
	for _, beside := range []int{0, 20, 100} {
		for _, m := range modes {
			b.Run(fmt.Sprintf("beside-%dMBs/%s", beside, m.name), func(b *testing.B) {
				var syncs atomic.Int64
				o := m.opts
				o.ObserveSync = func(time.Duration, int) { syncs.Add(1) }
				br := brokertest.New(b, o)
				topic := brokertest.Topic(b, br, "bench", 4)
				cl := brokertest.Client(b, br, kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
					kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.MaxBufferedRecords(50_000))
				if beside > 0 {
					writeBeside(b, beside)
				}
				b.ReportAllocs()
				syncs.Store(0)
				run(b, br, cl, &syncs)
			})
		}
	}
}

// event is a record of about 1 KB that compresses like JSON does.
func event() *kgo.Record {
	v := make([]byte, 1000)
	for i := range v {
		v[i] = "0123456789abcdef"[rand.IntN(16)]
	}
	return &kgo.Record{Value: v}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func quantile(d []time.Duration, q float64) float64 {
	slices.Sort(d)
	return float64(d[int(q*float64(len(d)-1))].Microseconds()) / 1000
}

// BenchmarkProduce is the rate of one client that does not wait for each record, and of 64 callers that each
// wait for their record and its sync. Run it with -benchtime=100000x.
func BenchmarkProduce(b *testing.B) {
	b.Run("pipelined", func(b *testing.B) {
		eachMode(b, func(b *testing.B, br *broker.Broker, cl *kgo.Client, syncs *atomic.Int64) {
			before := cpu()
			for b.Loop() {
				cl.Produce(b.Context(), event(), func(_ *kgo.Record, err error) {
					if err != nil {
						b.Error(err)
					}
				})
			}
			if err := cl.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := br.Sync(b.Context()); err != nil {
				b.Fatal(err)
			}
			report(b, before, syncs)
		})
	})
	b.Run("callers-64", func(b *testing.B) {
		eachMode(b, func(b *testing.B, br *broker.Broker, cl *kgo.Client, syncs *atomic.Int64) {
			before := cpu()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ack(b, br, cl)
				}
			})
			report(b, before, syncs)
		})
	})
}

func report(b *testing.B, before time.Duration, syncs *atomic.Int64) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric((cpu()-before).Seconds()/float64(b.N)*1000, "cpu-s/1000")
	b.ReportMetric(float64(syncs.Load())/b.Elapsed().Seconds(), "syncs/s")
}

// ack produces a record and waits until it may be acknowledged.
func ack(b *testing.B, br *broker.Broker, cl *kgo.Client) {
	if err := cl.ProduceSync(b.Context(), event()).FirstErr(); err != nil {
		b.Error(err)
	}
	if err := br.Sync(b.Context()); err != nil {
		b.Error(err)
	}
}

// BenchmarkAckAt200 is the time to an acknowledgement at 200 records a second. Run it with -benchtime=2000x.
func BenchmarkAckAt200(b *testing.B) {
	eachMode(b, func(b *testing.B, br *broker.Broker, cl *kgo.Client, syncs *atomic.Int64) {
		before := cpu()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var mu sync.Mutex
		var took []time.Duration
		var wg sync.WaitGroup
		for b.Loop() {
			wg.Go(func() {
				start := time.Now()
				ack(b, br, cl)
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			})
			<-tick.C
		}
		wg.Wait()
		report(b, before, syncs)
		b.ReportMetric(quantile(took, 0.5), "p50-ms")
		b.ReportMetric(quantile(took, 0.99), "p99-ms")
	})
}

// BenchmarkOpen is the start on a log of 100,000 records that was not stopped cleanly.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "data")
	br, stop := open(b, path, broker.Options{Fsync: broker.FsyncNone})
	topic := brokertest.Topic(b, br, "bench", 4)
	cl := brokertest.Client(b, br, kgo.DefaultProduceTopic(topic))
	for range 100_000 {
		cl.Produce(b.Context(), event(), nil)
	}
	if err := cl.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	stop()
	for b.Loop() {
		if err := os.Remove(filepath.Join(path, "broker", "clean")); err != nil {
			b.Fatal(err)
		}
		_, stop := open(b, path, broker.Options{Fsync: broker.FsyncNone})
		b.StopTimer()
		stop()
		b.StartTimer()
	}
}
