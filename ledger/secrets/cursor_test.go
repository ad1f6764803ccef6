package secrets

import (
	"crypto/rand"
	"testing"
)

// A tag is good for its message only, with former keys too, and not once they are dropped.
func TestCursorTag(t *testing.T) {
	set, err := Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("place")
	tag := set.CursorTag(message)
	if len(tag) != CursorTagSize || !set.CheckCursorTag(message, tag) {
		t.Fatalf("its own tag %x is refused", tag)
	}
	for name, bad := range map[string]struct{ message, tag []byte }{
		"another message": {[]byte("elsewhere"), tag}, "a cut tag": {message, tag[:15]}, "no tag": {message, nil},
		"a flipped bit": {message, append([]byte{tag[0] ^ 1}, tag[1:]...)},
	} {
		if set.CheckCursorTag(bad.message, bad.tag) {
			t.Errorf("%s passes", name)
		}
	}
	former := set.Current(Tokens)
	next, name, err := set.Add(Tokens, rand.Reader)
	if err == nil {
		next, err = next.Use(Tokens, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !next.CheckCursorTag(message, tag) || string(next.CursorTag(message)) == string(tag) {
		t.Error("after a rotation of the keys, the former key's tag is refused or still made")
	}
	if next, err = next.Drop(Tokens, former); err != nil {
		t.Fatal(err)
	}
	if next.CheckCursorTag(message, tag) {
		t.Error("a dropped key's tag passes")
	}
}
