package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"hookledger/ledger/ids"
	"hookledger/ledger/secrets"
	"hookledger/schemas/api"
	"hookledger/schemas/api/apierr"
)

// A cursor says where a list goes on, and of which list it is. It is base64url of
//
//	format (1 byte), when it was given (4, seconds), the list (8, a hash), the place, a tag (16)
//
// The tag is the installation's, so that a place which was never given is not
// taken for one. Places are keys by which the rows are ordered and that never
// change, and a page is what lies beyond one: so whatever is inserted, changed or
// deleted between two pages, a row that is there all the while comes exactly
// once. Under a filter a row that has the status all the while comes exactly
// once, and one whose status changes meanwhile at most once, as it was when its
// page was read. What is inserted meanwhile comes if it lies beyond the place.
const (
	cursorFormat = 1
	cursorHead   = 1 + 4 + 8
	// cursorLife is how long a cursor is good: who comes back later walks through
	// what retention has changed, and is told to begin again.
	cursorLife = 7 * 24 * time.Hour
)

// listing is what a cursor belongs to: a list of an account, with its filter. A
// page may have another limit than the one before.
type listing struct {
	name, account, of, filter string
}

func (l listing) hash() [8]byte {
	sum := sha256.Sum256([]byte(strings.Join([]string{l.name, l.account, l.of, l.filter}, "\x00")))
	return [8]byte(sum[:])
}

// cursor makes the text of a place; empty for none.
func (s *server) cursor(l listing, place []byte) string {
	if len(place) == 0 {
		return ""
	}
	list := l.hash()
	b := make([]byte, 0, cursorHead+len(place)+secrets.CursorTagSize)
	b = append(b, cursorFormat)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Now().Unix()))
	b = append(b, list[:]...)
	b = append(b, place...)
	b = append(b, s.Secrets.CursorTag(b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// place reads a cursor of a list, which has places of n bytes; nil for the
// beginning. Everything else is 422.
func (s *server) place(l listing, text *api.Cursor, n int) ([]byte, error) {
	if text == nil {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(*text)
	if err != nil || len(b) < cursorHead+secrets.CursorTagSize || b[0] != cursorFormat {
		return nil, badCursor("is not a cursor: send X-Next-Cursor of the page before as it stands, or leave it out to begin")
	}
	message, tag := b[:len(b)-secrets.CursorTagSize], b[len(b)-secrets.CursorTagSize:]
	if !s.Secrets.CheckCursorTag(message, tag) {
		return nil, badCursor("was not given by this service: send X-Next-Cursor of the page before as it stands, or leave it out to begin")
	}
	given := time.Unix(int64(binary.BigEndian.Uint32(b[1:])), 0)
	place := message[cursorHead:]
	switch list := l.hash(); {
	case string(b[5:cursorHead]) != string(list[:]), len(place) != n:
		return nil, badCursor("belongs to another list: send it to the path, with the filters, that gave it")
	case s.Now().Sub(given) > cursorLife:
		return nil, badCursor("is outdated, cursors are good for 7 days: leave it out to begin again")
	}
	return place, nil
}

func badCursor(message string) error {
	return apierr.Invalid(apierr.Field{In: "query", Field: "cursor", Message: message})
}

// idPlace and idAt are for lists in the order of ids.
func idPlace(id ids.ID) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

func idAt(place []byte) ids.ID {
	if place == nil {
		return ids.ID{}
	}
	return ids.ID(place)
}
