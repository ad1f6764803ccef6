package ledger_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
)

// aged appends a record for each age, as a producer with that clock.
func aged(t testing.TB, l *ledger.Log, topic ledger.Topic, now time.Time, ages ...time.Duration) {
	t.Helper()
	client := brokertest.Client(t, brokertest.Start(t), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, age := range ages {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: l.Name(topic), Timestamp: now.Add(-age)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTrimmer(t *testing.T) {
	t.Parallel()
	l := ready(t)
	now := time.Now()
	const day = 24 * time.Hour
	aged(t, l, ledger.EventIDs, now, 60*time.Hour, 50*time.Hour, 48*time.Hour, time.Hour)
	aged(t, l, ledger.Events, now, 40*day, 31*day, 29*day, 0)
	aged(t, l, ledger.Attempts, now, 40*day, 31*day, 30*day, 0)
	aged(t, l, ledger.Config, now, 400*day, 31*day, 0)
	aged(t, l, ledger.Lanes, now, 400*day, 0)
	starts := func(topic ledger.Topic) int64 {
		t.Helper()
		got, err := l.Starts(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		return got[0]
	}
	floors := map[ledger.Topic]map[int32]int64{ledger.Attempts: {0: 1}}
	trimmer := &ledger.Trimmer{
		Log: l, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
		Floor: func(_ context.Context, topic ledger.Topic) (map[int32]int64, error) { return floors[topic], nil },
	}
	for range 2 {
		if err := trimmer.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		for topic, want := range map[ledger.Topic]int64{
			ledger.EventIDs: 2, ledger.Events: 2, ledger.Attempts: 1, ledger.Config: 0, ledger.Lanes: 0, ledger.DeadLetters: 0,
		} {
			if got := starts(topic); got != want {
				t.Errorf("%s starts at %d, want %d", topic, got, want)
			}
		}
	}
	// A moved clock: everything is old. What the floor names stays, and of an
	// embedded partition the last record (see the broker's package comment).
	now = now.Add(100 * day)
	if err := trimmer.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if starts(ledger.Events) != 3 || starts(ledger.EventIDs) != 3 || starts(ledger.Attempts) != 1 || starts(ledger.Config) != 0 {
		t.Errorf("starts: events %d, event-ids %d, attempts %d, config %d", starts(ledger.Events), starts(ledger.EventIDs), starts(ledger.Attempts), starts(ledger.Config))
	}
	trimmer.Floor = func(context.Context, ledger.Topic) (map[int32]int64, error) { return nil, errors.New("nobody knows") }
	before := starts(ledger.Attempts)
	if err := trimmer.Trim(t.Context()); err == nil || starts(ledger.Attempts) != before {
		t.Errorf("without a floor: %v, attempts start at %d", err, starts(ledger.Attempts))
	}
}

func TestTrimmerRuns(t *testing.T) {
	t.Parallel()
	l := ready(t)
	now := time.Now()
	aged(t, l, ledger.Events, now, 40*24*time.Hour, 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	trimmer := &ledger.Trimmer{Log: l, Every: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
	go func() { done <- trimmer.Run(ctx) }()
	eventually(t, "the old record is trimmed", func() bool {
		got, err := l.Starts(t.Context(), ledger.Events)
		return err == nil && got[0] == 1
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
