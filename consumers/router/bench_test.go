package router

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/ledger"
	"hookledger/ledger/event"
)

// BenchmarkRouter routes events of 1 KB to one webhook each, from an embedded
// broker in this process to the same, everything included: fetching, the sync
// (none here), appending, event-ids, commits.
//
//	go test ./consumers/router -run XXX -bench Router
func BenchmarkRouter(b *testing.B) {
	for _, ids := range []string{"fresh", "given"} {
		b.Run(ids, func(b *testing.B) {
			s := newStage(b)
			s.hooks.set(hook(1))
			client := s.client()
			data := []byte(`{"x":"` + strings.Repeat("y", 1000) + `"}`)
			var failed error
			for i := range b.N {
				e := &event.Event{
					ID: fmt.Sprint("evt-", i), Source: "bench", Type: "export.ready", Account: "a", Data: data,
					CreatedAt: noon, Fresh: ids == "fresh",
				}
				client.Produce(b.Context(), &kgo.Record{
					Topic: s.log.Name(ledger.Events), Partition: int32(i % 2), Key: e.Key(), Value: e.Data, Headers: e.Headers(),
				}, func(_ *kgo.Record, err error) {
					if err != nil {
						failed = err
					}
				})
			}
			if err := client.Flush(b.Context()); err != nil || failed != nil {
				b.Fatal(err, failed)
			}
			r := s.router(func(o *Options) { o.CommitEvery = 0 })
			b.ReportAllocs()
			b.ResetTimer()
			began, cpu := time.Now(), cpuSeconds()
			stop := s.start(r)
			s.routed()
			b.StopTimer()
			took, used := time.Since(began).Seconds(), cpuSeconds()-cpu
			b.ReportMetric(float64(b.N)/took, "events/s")
			b.ReportMetric(1000*used/float64(b.N), "cpu-s/1000")
			if err := stop(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// cpuSeconds is what this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
