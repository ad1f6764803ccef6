package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

const testDepth = 32

func seeds() []string {
	return []string{
		`{}`, ` [ ] `, `null`, `true`, `false`, `0`, `-0`, `-0.5e+10`, `1e400`, `12345678901234567890`, `"a"`, `""`,
		`{"a":1,"a":2}`, `{"a":{"b":[1,2,{"c":null}]}}`, `"\u00e9\n\ud83d\ude00"`, `"\ud800"`, `"\ud800\u0041"`, "\"\xff\"", `"é😀"`,
		``, ` `, `{`, `[1,]`, `{"a"}`, `{"a":}`, `{a:1}`, `01`, `1.`, `.5`, `+1`, `1e`, `nul`, `truex`, `"\x"`, `"\u12g4"`, `"`, "\"\n\"",
		`{} {}`, "\ufeff{}", `[1 2]`, `{"a":1,}`, `'a'`, `NaN`, `-`, strings.Repeat("[", 31) + strings.Repeat("]", 31),
		strings.Repeat("[", 32) + strings.Repeat("]", 32), strings.Repeat("[", 33) + strings.Repeat("]", 33), "\"\\", "\"\x7f\"", "{\"\xc3\x28\":1}",
	}
}

// depthOf is the depth of a valid text.
func depthOf(b []byte) int {
	d, most, in := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case in && c == '\\':
			i++
		case c == '"':
			in = !in
		case !in && (c == '[' || c == '{'):
			d++
			most = max(most, d)
		case !in && (c == ']' || c == '}'):
			d--
		}
	}
	return most
}

// verdict is what encoding/json says, with the two rules that it does not have.
func verdict(b []byte) bool { return json.Valid(b) && utf8.Valid(b) && depthOf(b) <= testDepth }

func check(t *testing.T, b []byte) {
	err := Check(b, testDepth)
	if want := verdict(b); (err == nil) != want {
		t.Fatalf("Check(%q) = %v, want valid %v", b, err, want)
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b) {
			t.Fatalf("Check(%q) = %#v", b, err)
		}
		return
	}
	s := New(b, testDepth)
	switch s.Peek() {
	case String:
		v, _ := s.Value()
		var want string
		if err := json.Unmarshal(v, &want); err != nil {
			t.Fatal(err)
		}
		got, ok := Unquote(v)
		if ok && string(got) != want || !ok && !strings.ContainsRune(want, utf8.RuneError) {
			t.Fatalf("Unquote(%s) = %q, %v, want %q", v, got, ok, want)
		}
	case Object:
		var names []string
		if err := s.Object(func(name, value []byte) error {
			names = append(names, string(name))
			if !json.Valid(value) || !bytes.Equal(value, bytes.TrimSpace(value)) {
				t.Fatalf("member %s of %q is %q", name, b, value)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		_, _ = dec.Token()
		for _, name := range names {
			tok, err := dec.Token()
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := Unquote([]byte(name)); ok && string(got) != tok {
				t.Fatalf("member name %s of %q, want %q", name, b, tok)
			}
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				t.Fatal(err)
			}
		}
	case Array:
		n := 0
		if err := s.Array(func(int) error { n++; _, err := s.Value(); return err }); err != nil && depthOf(b) < testDepth {
			t.Fatal(err)
		}
		var all []json.RawMessage
		if err := json.Unmarshal(b, &all); err != nil || len(all) != n {
			t.Fatalf("%q has %d elements, want %d", b, n, len(all))
		}
	}
}

func TestCheckAgreesWithEncodingJSON(t *testing.T) {
	for _, s := range seeds() {
		check(t, []byte(s))
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { check(t, b) })
}

func BenchmarkCheck(b *testing.B) {
	text := []byte(`{"id":"evt_1","data":{"title":"` + strings.Repeat("a video of a cat, ", 50) + `","n":[1,2.5,3e10],"ok":true}}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(text, 128); err != nil {
			b.Fatal(err)
		}
	}
}
