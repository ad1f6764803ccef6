package history_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"hookledger/deploy/embedded/engine/enginetest"
	"hookledger/ledger/ids"
	"hookledger/projections/history"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// db is the package's engine; TestMain has no other way to hand it to tests.
var db enginetest.Engine

func TestMain(m *testing.M) { db.Main(m) }

// noon is the now of these tests.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// open makes a migrated history in a database of the test's own.
func open(t testing.TB) *history.History {
	t.Helper()
	h := openEmpty(t, db.Database(t))
	if err := h.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func openEmpty(t testing.TB, dsn string) *history.History {
	t.Helper()
	h, err := history.Open(history.Options{DSN: dsn, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func insert(t testing.TB, h *history.History, b *history.Batch) {
	t.Helper()
	must(t, h.Insert(context.WithoutCancel(t.Context()), b))
}

// webhook is the n-th webhook's id.
func webhook(n int) (i ids.ID) {
	binary.BigEndian.PutUint32(i[0:], uint32(n)*0x9e3779b9)
	binary.BigEndian.PutUint32(i[12:], uint32(n))
	return i
}

func attemptID(partition uint16, epoch, counter uint64) (i ids.ID) {
	binary.BigEndian.PutUint64(i[0:], epoch)
	binary.BigEndian.PutUint16(i[0:], partition)
	binary.BigEndian.PutUint64(i[8:], counter)
	return i
}

// subject is a delivery of the event at source to a webhook.
func subject(account string, hook ids.ID, created time.Time, source *facts.Source) *facts.Subject {
	d := ids.ForDelivery(created.UnixMilli(), source.GetPartition(), source.GetOffset(), hook)
	return &facts.Subject{
		DeliveryId: d[:], WebhookId: hook[:], Account: account,
		EventId: "evt_1", EventType: "export.ready", CreatedMs: created.UnixMilli(),
	}
}

func content(source *facts.Source) *facts.Content {
	return &facts.Content{Source: source, MetadataOffset: -1, BodyHash: make([]byte, 32), BodySize: 10}
}

// attemptRecord is a fact as it lies in attempts.
func attemptRecord(t testing.TB, partition int32, offset int64, f *facts.AttemptFact) *kgo.Record {
	t.Helper()
	return factRecord(t, 'a', f, partition, offset, time.UnixMilli(f.GetStartedMs()).Add(50*time.Millisecond))
}

func factRecord(t testing.TB, kind byte, m proto.Message, partition int32, offset int64, at time.Time) *kgo.Record {
	t.Helper()
	value, err := proto.Marshal(m)
	must(t, err)
	return &kgo.Record{
		Key: []byte("key"), Value: append([]byte{'H', 'L', 1, kind}, value...),
		Partition: partition, Offset: offset, Timestamp: at,
	}
}

// add folds a fact into a batch.
func add(t testing.TB, b *history.Batch, partition int32, offset int64, f *facts.AttemptFact) {
	t.Helper()
	row, state, err := history.FoldAttempt(attemptRecord(t, partition, offset, f))
	must(t, err)
	b.Attempts = append(b.Attempts, row)
	if state != nil {
		b.Deliveries = append(b.Deliveries, *state)
	}
}
