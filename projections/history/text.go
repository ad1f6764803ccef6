package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"hookledger/ledger/ids"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// text is a String constant. In hex nothing needs quoting, whatever it holds.
func text(s string) string { return "unhex('" + hex.EncodeToString([]byte(s)) + "')" }

// id is a FixedString(16) constant.
func id(i ids.ID) string { return "toFixedString(unhex('" + hex.EncodeToString(i[:]) + "'), 16)" }

// idList is the right side of IN.
func idList(all []ids.ID) string {
	quoted := make([]string, len(all))
	for i, one := range all {
		quoted[i] = id(one)
	}
	return "(" + strings.Join(quoted, ", ") + ")"
}

// at is a DateTime64(3) constant.
func at(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d), 'UTC')", clampMillis(t.UnixMilli()))
}

// timeOf is a time from ClickHouse, zero for the epoch, which stands for none.
func timeOf(t time.Time) time.Time {
	if t.UnixMilli() == 0 {
		return time.Time{}
	}
	return t.UTC()
}

// replaceAll replaces each first by the one that follows it.
func replaceAll(s string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(s) }

// checkBody compares a body with the hash of what was sent.
func checkBody(body []byte, c *facts.Content) error {
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], c.GetBodyHash()) {
		return fmt.Errorf("%w: SHA-256 %x, want %x", ErrPayloadDamaged, sum, c.GetBodyHash())
	}
	return nil
}
