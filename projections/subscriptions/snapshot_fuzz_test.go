package subscriptions

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
)

// FuzzSnapshot: whatever lies in the file, with a right checksum too, is refused or is a state that the fold can
// start from and that is saved as the same again.
func FuzzSnapshot(f *testing.F) {
	head := snapshotHead{Format: snapshotFormat, Rules: Rules, Cluster: "c", Partitions: 1}
	for _, part := range []savedPart{
		{},
		{
			Next: 7, Time: 9, Webhooks: []savedWebhook{{Webhook: &Webhook{Account: "a", Name: "n", Events: []string{"export.ready"}}, Routed: 3}},
			Keys: []*APIKey{{ID: "k", Account: "a"}}, Deleted: []Tombstone{{}}, GoneKeys: map[string]string{"x": "a"},
			Used: []savedKey{{Account: "a", APIKey: "k", First: 1, Since: 2}},
		},
	} {
		b, err := encodeSnapshot(head, []savedPart{part})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:len(b)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeSnapshot(b, head); err != nil && !errors.Is(err, errSnapshot) {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		parts, err := decodeSnapshot(append(slices.Clip(b), sum[:]...), head)
		if err != nil {
			if !errors.Is(err, errSnapshot) {
				t.Fatal(err)
			}
			return
		}
		fold := New(1, func(string) int32 { return 0 })
		fold.restore(0, parts[0])
		if _, err := encodeSnapshot(head, []savedPart{fold.save(0)}); err != nil {
			t.Fatal(err)
		}
	})
}
