package ledger_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/deploy/embedded/broker/brokertest"
	"hookledger/ledger"
)

func TestDeadLetterIsAnExactCopy(t *testing.T) {
	t.Parallel()
	l := ready(t)
	at, err := l.Append(t.Context(), ledger.Record{Topic: ledger.Events, Partition: 1}, ledger.Record{
		Topic: ledger.Events, Partition: 1, Key: []byte{0, 0xff}, Value: []byte("\x00not JSON\xff"),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte{0xfe}}, {Key: "", Value: nil}, {Key: "ce_id", Value: []byte("again")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range at {
		r, err := l.ReadAt(t.Context(), p.Topic, p.Partition, p.Offset)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.DeadLetter(t.Context(), r, errors.New("it is "+strings.Repeat("very ", 3000)+"bad \xff")); err != nil {
			t.Fatal(err)
		}
	}
	got := all(t, l, ledger.DeadLetters, 1)
	if len(got) != 2 {
		t.Fatalf("%d dead letters", len(got))
	}
	if empty := got[0]; len(empty.Key)+len(empty.Value) != 0 || len(empty.Headers) != 5 {
		t.Errorf("the empty record became %q, %q, %d headers", empty.Key, empty.Value, len(empty.Headers))
	}
	r, err := l.ReadAt(t.Context(), ledger.Events, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	letter := got[1]
	if !bytes.Equal(letter.Key, r.Key) || !bytes.Equal(letter.Value, r.Value) {
		t.Errorf("key %q, value %q", letter.Key, letter.Value)
	}
	if len(letter.Headers) != 5+len(r.Headers) {
		t.Fatalf("headers %v", letter.Headers)
	}
	for i, h := range r.Headers {
		if c := letter.Headers[5+i]; c.Key != h.Key || !bytes.Equal(c.Value, h.Value) {
			t.Errorf("header %d is %v, want %v", i, c, h)
		}
	}
	for i, want := range []struct{ key, value string }{
		{ledger.DeadLetterTopic, "events"},
		{ledger.DeadLetterPartition, "1"},
		{ledger.DeadLetterOffset, "1"},
		{ledger.DeadLetterTime, ""},
		{ledger.DeadLetterReason, ""},
	} {
		h := letter.Headers[i]
		if h.Key != want.key || want.value != "" && string(h.Value) != want.value {
			t.Errorf("header %d is %q: %q", i, h.Key, h.Value)
		}
	}
	if reason := string(letter.Headers[4].Value); !strings.HasPrefix(reason, "it is very very") || len(reason) > 5000 {
		t.Errorf("reason of %d bytes", len(reason))
	}
}

// A platform's compressed batch may hold a record larger than any batch of ours.
func TestDeadLetterOfARecordThatIsTooLarge(t *testing.T) {
	t.Parallel()
	l := ready(t)
	big := brokertest.Client(t, brokertest.Start(t), kgo.ProducerBatchMaxBytes(64<<20), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err := big.ProduceSync(t.Context(), &kgo.Record{Topic: l.Name(ledger.Events), Key: []byte("k"), Value: make([]byte, 6<<20)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r, err := l.ReadAt(t.Context(), ledger.Events, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.DeadLetter(t.Context(), r, errors.New("too large")); err != nil {
		t.Fatal(err)
	}
	letter := all(t, l, ledger.DeadLetters, 0)[0]
	if len(letter.Value) != 0 || !strings.Contains(string(letter.Headers[4].Value), "left out here") || !strings.HasSuffix(string(letter.Headers[4].Value), "too large") {
		t.Errorf("%d bytes, reason %q", len(letter.Value), letter.Headers[4].Value)
	}
}
