package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// benchLoad publishes.
type benchLoad struct {
	o      *benchOptions
	server *benchServer
	tally  *benchTally
	room   *semaphore.Weighted // deliveries that may still be published

	next    atomic.Int64 // number of the next event
	ack     histogram    // of a request, from when it was due
	late    atomic.Int64 // nanoseconds: the latest that a request was sent after it was due
	refused atomic.Int64 // events, by an answer other than 202
	unknown atomic.Int64 // events of requests without an answer
	reason  atomic.Pointer[string]

	before, after treeUsage
	rows          float64 // of attempts in the history, before the load
	began, ended  time.Time
	from, to      benchMark
	drained       time.Time
}

// benchMark is how far things were at the ends of what is measured.
type benchMark struct{ events, arrived int64 }

func (l *benchLoad) mark() benchMark {
	l.tally.mu.Lock()
	defer l.tally.mu.Unlock()
	return benchMark{l.tally.events, l.tally.arrived.Load()}
}

// run loads the server for the warm-up and the seconds that are measured.
func (l *benchLoad) run(ctx context.Context, out *benchFigures) error {
	client := benchClient(l.o.publishers)
	defer client.CloseIdleConnections()
	l.rows, _ = l.server.historyRows(ctx)
	start := time.Now()
	warm := start.Add(time.Duration(l.o.warmup) * time.Second)
	end := warm.Add(time.Duration(l.o.seconds) * time.Second)
	pace := newPacer(l.o.rate/float64(l.o.batch), start)
	var wg sync.WaitGroup
	for range l.o.publishers {
		wg.Go(func() { l.publish(ctx, client, pace, end) })
	}
	err := wait(ctx, time.Until(warm))
	l.before, l.began, l.from = l.server.tree.usage(), time.Now(), l.mark()
	l.tally.measuring.Store(true)
	if err == nil {
		err = wait(ctx, time.Until(end))
	}
	l.ended, l.to = time.Now(), l.mark()
	loaded := l.server.tree.usage()
	out.ServerLoadRSS, out.EngineLoadRSS = loaded.server.rss, loaded.engine.rss
	wg.Wait()
	return err
}

// publish is one publisher.
func (l *benchLoad) publish(ctx context.Context, client *http.Client, pace *pacer, end time.Time) {
	var body []byte
	deliveries := int64(l.o.batch * l.o.fanOut)
	for {
		due, err := pace.next(ctx, end)
		if err != nil {
			return
		}
		if l.room.Acquire(ctx, deliveries) != nil {
			return
		}
		if l.o.rate == 0 {
			due = time.Now() // waiting for room is no part of a publish
		}
		late := int64(time.Since(due))
		for was := l.late.Load(); late > was && !l.late.CompareAndSwap(was, late); was = l.late.Load() {
		}
		to := int(l.next.Add(int64(l.o.batch)))
		from := to - l.o.batch
		body = l.body(body[:0], from, to, due.Sub(l.tally.began))
		status, err := l.server.post(ctx, client, "/events", body)
		switch {
		case err != nil:
			l.unknown.Add(int64(l.o.batch))
			l.because(err.Error())
			_ = wait(ctx, 100*time.Millisecond)
		case status != http.StatusAccepted:
			l.refused.Add(int64(l.o.batch))
			l.because("status " + strconv.Itoa(status))
			l.room.Release(deliveries)
			_ = wait(ctx, 100*time.Millisecond)
		default:
			if l.tally.measuring.Load() {
				l.ack.add(time.Since(due))
			}
			l.tally.acknowledged(from, to)
			for n := from; n < to; n++ {
				if l.tally.hopeless(n) {
					l.room.Release(int64(l.o.fanOut)) // it will not be received
				}
			}
		}
	}
}

// because keeps the first reason why something was not accepted.
func (l *benchLoad) because(why string) { l.reason.CompareAndSwap(nil, &why) }

// body writes events from and below to as a request.
func (l *benchLoad) body(b []byte, from, to int, stamp time.Duration) []byte {
	b = append(b, '[')
	for n := from; n < to; n++ {
		if n > from {
			b = append(b, ',')
		}
		b = append(b, `{"event":"`+benchEvent+`","index_id":"`...)
		b = append(b, benchIndex(n%l.tally.groups)...)
		b = append(b, `","data":`...)
		b = benchData(b, n, stamp, l.o.payload)
		b = append(b, '}')
	}
	return append(b, ']')
}

// benchEvent is the name of every event of a bench.
const benchEvent = "export.ready"

// benchIndex is the index of a group of webhooks: it routes an event to them alone.
func benchIndex(group int) string { return "bench-" + strconv.Itoa(group) }

// benchData writes an event's data, of about the size given.
func benchData(b []byte, n int, stamp time.Duration, size int) []byte {
	start := len(b)
	b = append(b, `{"n":`...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, stampMark...)
	b = strconv.AppendInt(b, int64(stamp), 10)
	b = append(b, `,"pad":"`...)
	for len(b)-start < size-2 {
		b = append(b, "the quick brown fox jumps over the lazy dog "[:min(44, size-2-(len(b)-start))]...)
	}
	return append(b, `"}`...)
}

// drain waits for what was published: that it was received, then that the
// history has it, as long as either makes progress.
func (l *benchLoad) drain(ctx context.Context, out *benchFigures, say func(string, ...any)) {
	last, at := l.tally.arrived.Load(), time.Now()
	for l.tally.missing() > 0 && ctx.Err() == nil {
		if now := l.tally.arrived.Load(); now > last {
			last, at = now, time.Now()
		} else if time.Since(at) > l.o.drain {
			say("no delivery has come for %s: giving up on %d", l.o.drain, l.tally.missing())
			break
		}
		_ = wait(ctx, 20*time.Millisecond)
	}
	l.drained = time.Now()
	out.DrainSeconds = l.drained.Sub(l.ended).Seconds()
	want := float64(l.tally.arrived.Load())
	rows, at := -1.0, time.Now()
	for ctx.Err() == nil {
		now, err := l.server.historyRows(ctx)
		if err != nil {
			out.Warnings = append(out.Warnings, fmt.Sprintf("the history's progress is not known, so its CPU may be missing: %v", err))
			break
		}
		if now-l.rows >= want {
			seconds := time.Since(l.drained).Seconds()
			out.HistorySeconds = &seconds
			break
		}
		if now > rows {
			rows, at = now, time.Now()
		} else if time.Since(at) > l.o.drain {
			out.Warnings = append(out.Warnings, fmt.Sprintf("the history has %.0f attempts of %.0f, and no more came for %s", now-l.rows, want, l.o.drain))
			break
		}
		_ = wait(ctx, 100*time.Millisecond)
	}
	l.after = l.server.tree.usage()
}

// figures puts together what the load has shown.
func (l *benchLoad) figures(out *benchFigures) {
	window := l.ended.Sub(l.began).Seconds()
	t := l.tally
	end := l.mark()
	out.EventsPerS = float64(l.to.events-l.from.events) / window
	out.DeliveriesPerS = float64(l.to.arrived-l.from.arrived) / window
	out.Ack, out.Delivery = l.ack.latency(), t.delivery.latency()
	out.Events, out.Deliveries = end.events, end.arrived
	out.Refused, out.Unknown = l.refused.Load(), l.unknown.Load()
	if why := l.reason.Load(); why != nil {
		out.Warnings = append(out.Warnings, "not every event was accepted: "+*why)
	}
	out.Lost, out.Hung = t.missing(), t.hangs.Load()
	t.mu.Lock()
	out.Duplicates, out.Invented = t.duplicates, t.invented
	t.mu.Unlock()
	out.LateSeconds = time.Duration(l.late.Load()).Seconds()
	if n := float64(end.arrived-l.from.arrived) / 1000; n > 0 {
		out.ServerCPU = l.after.server.since(l.before.server) / n
		out.EngineCPU = l.after.engine.since(l.before.engine) / n
		out.BenchCPU = l.after.self.since(l.before.self) / n
	}
	out.CPUKnown = l.after.server.known
	out.ServerEndRSS, out.EngineEndRSS = l.after.server.rss, l.after.engine.rss
	took := l.after.at.Sub(l.before.at).Seconds()
	out.CoresBusy = (l.after.server.since(l.before.server) + l.after.engine.since(l.before.engine) + l.after.self.since(l.before.self)) / took
	if out.CPUKnown {
		out.CoresOthers = max(l.after.machine.since(l.before.machine)/took-out.CoresBusy, 0)
	}
	if out.CoresOthers > 0.2 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("other processes used %.1f of the machine's %d cores meanwhile: rates and latencies are not this program's alone",
			out.CoresOthers, runtime.NumCPU()))
	}
}

// post sends a request with the server's API key and returns the status.
func (s *benchServer) post(ctx context.Context, client *http.Client, path string, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/api/v2"+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-API-Key", s.key)
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode, err
}
