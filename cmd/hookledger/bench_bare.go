package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// benchClient is the HTTP client of publishers and of the bare client: one
// kept connection each.
func benchClient(connections int) *http.Client {
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			MaxIdleConns: connections, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
			IdleConnTimeout: time.Minute, DisableCompression: true,
		},
	}
}

// bareRun are the figures of the bare client: what this machine does without a
// server between. CPU is that of client and receiver together.
type bareRun struct {
	Rate    float64 `json:"rate,omitempty"` // asked for; 0 is full speed
	PerS    float64 `json:"requests_per_s"`
	CPU     float64 `json:"cpu_s_per_1000"`
	Latency latency `json:"latency"`
}

// runBare posts what a delivery looks like straight to the receiver.
func runBare(ctx context.Context, o *benchOptions, url string, rate float64) (bareRun, error) {
	client := benchClient(o.publishers)
	defer client.CloseIdleConnections()
	body := []byte(`{"id":"evt_00000000000000000000000000","event":"export.ready","created_at":"2026-01-01T00:00:00.000Z","api_version":"2024-01",` +
		`"data":` + string(benchData(nil, 0, 0, o.payload)) + `}`)
	var latencies histogram
	var wrong atomic.Int64
	post := func(due time.Time) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/bare", bytes.NewReader(body))
		if err != nil {
			wrong.Add(1)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			wrong.Add(1)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		latencies.add(time.Since(due))
	}
	before, began := selfUsage(), time.Now()
	pace := newPacer(rate, began)
	end := began.Add(time.Duration(o.bareSeconds) * time.Second)
	var wg sync.WaitGroup
	for range o.publishers {
		wg.Go(func() {
			for {
				due, err := pace.next(ctx, end)
				if err != nil {
					return
				}
				post(due)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return bareRun{}, err
	}
	took, n := time.Since(began).Seconds(), float64(latencies.n.Load())
	if wrong.Load() > 0 || n == 0 {
		return bareRun{}, fmt.Errorf("the bare client: %d of its requests to the bench's own receiver failed", wrong.Load())
	}
	return bareRun{rate, n / took, selfUsage().since(before) / n * 1000, latencies.latency()}, nil
}

// pacer hands out the times at which requests are due: at once at full speed,
// else evenly, whether or not anybody was there to take them.
type pacer struct {
	step  time.Duration
	began time.Time
	n     atomic.Int64
}

func newPacer(rate float64, began time.Time) *pacer {
	p := &pacer{began: began}
	if rate > 0 {
		p.step = max(time.Duration(float64(time.Second)/rate), 1)
	}
	return p
}

// errPaceOver is returned when the time is up.
var errPaceOver = fmt.Errorf("the load is over")

// next waits until the next request is due.
func (p *pacer) next(ctx context.Context, end time.Time) (time.Time, error) {
	now := time.Now()
	due := now
	if p.step > 0 {
		due = p.began.Add(time.Duration(p.n.Add(1)-1) * p.step)
	}
	if !due.Before(end) || !now.Before(end) {
		return due, errPaceOver
	}
	if early := due.Sub(now); early > 0 {
		return due, wait(ctx, early)
	}
	return due, ctx.Err()
}
