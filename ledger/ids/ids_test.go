package ids_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hookledger/ledger/ids"
)

func TestTextIsReversibleAndSorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() ids.ID {
			return ids.ID(rapid.SliceOfN(rapid.Byte(), ids.Size, ids.Size).Draw(t, "id"))
		}
		a, b := draw(), draw()
		got, err := ids.Parse(ids.Webhook, a.Text(ids.Webhook))
		if err != nil || got != a {
			t.Fatalf("Parse(%q) = %v, %v", a.Text(ids.Webhook), got, err)
		}
		if strings.Compare(a.Text(ids.Delivery), b.Text(ids.Delivery)) != bytes.Compare(a[:], b[:]) {
			t.Fatalf("text of %x and %x sorts otherwise than the bytes", a, b)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("wh_00000000000000000000000000")
	f.Add("wh_0000000000000000000000000v")
	f.Add("del_")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ids.Parse(ids.Webhook, text)
		if err == nil && id.Text(ids.Webhook) != text {
			t.Fatalf("%q and %q are the same webhook", text, id.Text(ids.Webhook))
		}
	})
}

func TestDeliveryCarriesTimeAndWebhook(t *testing.T) {
	webhook, err := ids.Random(strings.NewReader("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 3, 0, 0, 123e6, time.UTC)
	id := ids.ForDelivery(at.UnixMilli(), 3, 42, webhook)
	if !id.Time().Equal(at) {
		t.Errorf("time %v, want %v", id.Time(), at)
	}
	if id.WebhookPrefix() != [4]byte(webhook[:4]) {
		t.Errorf("prefix %x, want %x", id.WebhookPrefix(), webhook[:4])
	}
	if id != ids.ForDelivery(at.UnixMilli(), 3, 42, webhook) {
		t.Error("derived twice, differs")
	}
	for _, other := range []ids.ID{
		ids.ForDelivery(at.UnixMilli(), 4, 42, webhook),
		ids.ForDelivery(at.UnixMilli(), 3, 43, webhook),
	} {
		if other == id {
			t.Error("another source has the same id")
		}
	}
}

func TestFromKeySeparatesItsInputs(t *testing.T) {
	if ids.FromKey("ab", "c", 1) == ids.FromKey("a", "bc", 1) || ids.FromKey("a", "b", 1) == ids.FromKey("a", "b1", 0) {
		t.Error("different inputs, same id")
	}
}
