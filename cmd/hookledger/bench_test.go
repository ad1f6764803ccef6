package main

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hookledger/consumers/sender/receivertest"
)

// A short bench of the real program: what it counts adds up, and its figures
// are there.
func TestBench(t *testing.T) {
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	got := hookledger(t, "", "bench", "--seconds", "1", "--warmup", "0", "--bare-seconds", "1", "--rate", "60", "--batch", "2",
		"--webhooks", "6", "--fan-out", "3", "--receivers", "2", "--hanging", "40", "--temp", t.TempDir(), "--json",
		"--", "--engine-lib", lib, "--node", "bench", "--shutdown-timeout", "5s") // half of it goes to the requests that hang
	if got.code != 0 {
		t.Fatalf("bench ended with %d:\n%s\n%s", got.code, got.out, got.err)
	}
	var f benchFigures
	if err := json.Unmarshal([]byte(got.out), &f); err != nil {
		t.Fatalf("%v:\n%s", err, got.out)
	}
	if f.Events == 0 || f.Deliveries != 3*f.Events || f.Hung == 0 || f.Lost+f.Duplicates+f.Invented+f.Refused+f.Unknown != 0 {
		t.Errorf("what was counted: %s", got.out)
	}
	if f.HistorySeconds == nil || f.Delivery.P50 <= 0 || f.Delivery.P99 < f.Delivery.P50 || f.Ack.Count == 0 || len(f.Bare) != 2 || f.Bare[0].PerS <= 0 {
		t.Errorf("figures are missing: %s", got.out)
	}
	if f.CPUKnown && (f.ServerCPU <= 0 || f.ServerEndRSS <= 0 || f.EngineEndRSS <= 0) {
		t.Errorf("CPU and memory: %s", got.out)
	}
	wrong := hookledger(t, "", "bench", "--seconds", "0", "--fan-out", "7", "--webhooks", "3", "--attach", "http://127.0.0.1:1")
	if wrong.code != 1 {
		t.Errorf("wrong flags ended with %d: %s", wrong.code, wrong.err)
	}
}

// The tally sees what is missing, what comes twice, and what nobody sent.
func TestBenchTally(t *testing.T) {
	o := &benchOptions{webhooks: 4, fanOut: 2, batch: 3, payload: 200}
	tally := newBenchTally(o, time.Now())
	var firsts int
	tally.first = func() { firsts++ }
	r, err := receivertest.Start(receivertest.Options{Respond: tally.received})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	load := &benchLoad{o: o, tally: tally}
	client := benchClient(1)
	defer client.CloseIdleConnections()
	send := func(hook string, event int) {
		t.Helper()
		data := benchData(nil, event, time.Since(tally.began), o.payload)
		if len(data) != o.payload || !json.Valid(data) {
			t.Fatalf("data of %d bytes: %s", len(data), data)
		}
		s := &benchServer{base: r.URL() + "/hook/" + hook + "?"}
		if status, err := s.post(t.Context(), client, "", []byte(`{"id":"evt_x","data":`+string(data)+`}`)); err != nil || status != 200 {
			t.Fatal(status, err)
		}
	}
	if body := load.body(nil, 0, 3, 0); !json.Valid(body) {
		t.Fatalf("no JSON: %s", body)
	}
	tally.acknowledged(0, 3) // events 0 and 2 go to webhooks 0 and 1, event 1 to 2 and 3
	send("0", 0)
	send("1", 0)
	send("1", 0) // again
	send("3", 1)
	send("0", 1) // not its webhook
	send("1", 2)
	if missing := tally.missing(); missing != 2 || tally.duplicates != 1 || tally.invented != 1 || firsts != 4 {
		t.Errorf("missing %d, duplicates %d, invented %d, first arrivals %d", missing, tally.duplicates, tally.invented, firsts)
	}
}

func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(r.Int64N(1 << r.IntN(40)))
		all = append(all, d)
		h.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, .5, .9, .99, .999, 1} {
		want, got := all[max(int(q*float64(len(all))+0.5)-1, 0)], h.at(q)
		if diff := (got - want).Abs(); float64(diff) > 0.01*float64(want)+1 {
			t.Errorf("quantile %g is %s, want %s", q, got, want)
		}
	}
	for b := range h.counts[:5000] {
		if got := bucket(uint64(value(b))); got != b {
			t.Fatalf("the middle of bucket %d lies in %d", b, got)
		}
	}
}
