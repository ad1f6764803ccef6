package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts durations in buckets that are less than 1 % wide, from many
// goroutines at once, in 50 KB however long the run. (HdrHistogram does the
// same under a lock, and brings gonum and testify into the module.)
type histogram struct {
	counts [64 << histogramBits]atomic.Int64
	n      atomic.Int64
	max    atomic.Int64
}

// histogramBits is how many bits of a value are kept below its highest.
const histogramBits = 7

func (h *histogram) add(d time.Duration) {
	v := max(int64(d), 0)
	h.counts[bucket(uint64(v))].Add(1)
	h.n.Add(1)
	for {
		m := h.max.Load()
		if v <= m || h.max.CompareAndSwap(m, v) {
			return
		}
	}
}

// bucket is exact below 2^(histogramBits+1), and then as many buckets for each power of two.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-histogramBits-1, 0)
	return shift<<histogramBits + int(v>>shift)
}

// value is the middle of a bucket.
func value(b int) time.Duration {
	shift := max(b>>histogramBits-1, 0)
	low := uint64(b-shift<<histogramBits) << shift
	return time.Duration(low + (1<<shift)/2)
}

// at is the duration that a part q of all did not exceed.
func (h *histogram) at(q float64) time.Duration {
	rank := max(int64(q*float64(h.n.Load())+0.5), 1)
	for b := range h.counts {
		if rank -= h.counts[b].Load(); rank <= 0 {
			return min(value(b), time.Duration(h.max.Load()))
		}
	}
	return 0
}

// latency is a histogram as it is reported, in milliseconds.
type latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

func (h *histogram) latency() latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return latency{h.n.Load(), ms(h.at(.50)), ms(h.at(.95)), ms(h.at(.99)), ms(time.Duration(h.max.Load()))}
}
