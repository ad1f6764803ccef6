package history_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"hookledger/projections/history"
)

// Both are in rows of any age: they may never change.
func TestHashesAreFrozen(t *testing.T) {
	r := &kgo.Record{
		Partition: 3, Offset: 77, Timestamp: noon, Key: []byte("acme/1"), Value: []byte(`{"a":1}`),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("1")}, {Key: "empty", Value: nil}},
	}
	if got, want := fmt.Sprintf("%016x", history.RecordHash(r)), "67784c5b06093600"; got != want {
		t.Errorf("record hash %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%x", history.EventKey("acme", "order-1", "k")), "ef56e51bcb051fa442d9f8b63022a2b1"; got != want {
		t.Errorf("event key %s, want %s", got, want)
	}
	// Nil is not empty, and what belongs to the key is not the value's.
	seen := make(map[uint64]bool)
	for _, r := range []*kgo.Record{{}, {Key: []byte{}}, {Value: []byte{}}, {Key: []byte("a"), Value: []byte("b")}, {Key: []byte("ab")}, {Offset: 1}, {Partition: 1}} {
		seen[history.RecordHash(r)] = true
	}
	if len(seen) != 7 {
		t.Errorf("%d hashes of 7 records", len(seen))
	}
}
