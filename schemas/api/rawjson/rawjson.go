// Package rawjson finds its way in JSON text without changing a byte of it: it checks that a text is one JSON
// value (RFC 8259, valid UTF-8, bounded depth) and hands out the members of an object and the elements of an array as slices of the
// text. It is what lets `data` and `metadata` be kept verbatim, and the one pass over a published event.
//
// It never allocates for the text, never interprets numbers (so 1e400 survives), and never recurses deeper than
// the bound that it is given. Member names may repeat: what that means is the caller's to say.
//
// encoding/json does the same in two passes, with an allocation for each field, replaces invalid UTF-8 silently and
// has a fixed bound of 10,000 levels; the tests hold this package to its verdicts. A faster JSON library would be a
// dependency for two hundred lines.
package rawjson

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Kind is what a JSON value is.
type Kind byte

// The kinds.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// String names the kind with its article, for messages.
func (k Kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// KindOf tells by the first byte of a checked value.
func KindOf(value []byte) Kind {
	if len(value) == 0 {
		return Invalid
	}
	switch c := value[0]; {
	case c == '{':
		return Object
	case c == '[':
		return Array
	case c == '"':
		return String
	case c == 't' || c == 'f':
		return Bool
	case c == 'n':
		return Null
	case c == '-' || c >= '0' && c <= '9':
		return Number
	}
	return Invalid
}

// Error says where a text stops being JSON that is accepted.
type Error struct {
	// Offset is the place in bytes from the start of the text.
	Offset  int
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("%s at byte %d", e.Message, e.Offset) }

// Scanner walks over a text. The zero value is of no use: make it with [New].
type Scanner struct {
	b        []byte
	i        int
	maxDepth int
}

// New returns a scanner at the start of text; values nested deeper than maxDepth are refused (a plain value has depth 0,
// an empty array 1).
func New(text []byte, maxDepth int) Scanner { return Scanner{b: text, maxDepth: maxDepth} }

// Check says whether text is exactly one JSON value, with white space around it.
func Check(text []byte, maxDepth int) error {
	s := New(text, maxDepth)
	if _, err := s.Value(); err != nil {
		return err
	}
	return s.End()
}

// Peek is the kind of the value that comes next, by its first byte.
func (s *Scanner) Peek() Kind {
	s.space()
	return KindOf(s.b[s.i:])
}

// End says whether nothing but white space is left.
func (s *Scanner) End() error {
	s.space()
	if s.i < len(s.b) {
		return s.fail("something after the end of the JSON value")
	}
	return nil
}

// Value checks the value that comes next and returns it without the white space around it.
func (s *Scanner) Value() ([]byte, error) {
	s.space()
	start := s.i
	if err := s.value(0); err != nil {
		return nil, err
	}
	return s.b[start:s.i:s.i], nil
}

// Object checks the object that comes next and calls member for each member in order: its name still in quotes, with its
// escapes, and its value. An error of member ends the walk and is returned.
func (s *Scanner) Object(member func(name, value []byte) error) error {
	s.space()
	return s.object(0, member)
}

// Array checks the array that comes next; element must read exactly one value.
func (s *Scanner) Array(element func(i int) error) error {
	s.space()
	return s.array(0, element)
}

func (s *Scanner) fail(message string) error { return &Error{Offset: s.i, Message: message} }

// unexpected describes what stands at the place.
func (s *Scanner) unexpected(want string) error {
	if s.i >= len(s.b) {
		return s.fail("the JSON ends early, " + want + " was expected")
	}
	if c := s.b[s.i]; c < utf8.RuneSelf && c >= 0x20 {
		return s.fail(fmt.Sprintf("unexpected %q, %s was expected", c, want))
	}
	return s.fail("unexpected byte, " + want + " was expected")
}

func (s *Scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *Scanner) value(depth int) error {
	if s.i >= len(s.b) {
		return s.unexpected("a value")
	}
	switch c := s.b[s.i]; {
	case c == '"':
		return s.str()
	case c == '{':
		return s.object(depth, nil)
	case c == '[':
		return s.array(depth, nil)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	return s.unexpected("a value")
}

func (s *Scanner) open(depth int, c byte, what string) error {
	if s.i >= len(s.b) || s.b[s.i] != c {
		return s.unexpected(what)
	}
	if depth >= s.maxDepth {
		return s.fail(fmt.Sprintf("nested deeper than %d levels", s.maxDepth))
	}
	s.i++
	return nil
}

func (s *Scanner) object(depth int, member func(name, value []byte) error) error {
	if err := s.open(depth, '{', "an object"); err != nil {
		return err
	}
	for first := true; ; first = false {
		s.space()
		if first && s.i < len(s.b) && s.b[s.i] == '}' {
			s.i++
			return nil
		}
		if s.i >= len(s.b) || s.b[s.i] != '"' {
			return s.unexpected("a member name in quotes")
		}
		nameAt := s.i
		if err := s.str(); err != nil {
			return err
		}
		name := s.b[nameAt:s.i]
		s.space()
		if s.i >= len(s.b) || s.b[s.i] != ':' {
			return s.unexpected("':'")
		}
		s.i++
		s.space()
		valueAt := s.i
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if member != nil {
			if err := member(name, s.b[valueAt:s.i:s.i]); err != nil {
				return err
			}
		}
		if done, err := s.comma('}'); done || err != nil {
			return err
		}
	}
}

func (s *Scanner) array(depth int, element func(i int) error) error {
	if err := s.open(depth, '[', "an array"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		s.space()
		if n == 0 && s.i < len(s.b) && s.b[s.i] == ']' {
			s.i++
			return nil
		}
		var err error
		if element != nil {
			err = element(n)
		} else {
			err = s.value(depth + 1)
		}
		if err != nil {
			return err
		}
		if done, err := s.comma(']'); done || err != nil {
			return err
		}
	}
}

// comma reads what stands between values: a comma, or the end.
func (s *Scanner) comma(end byte) (done bool, err error) {
	s.space()
	if s.i < len(s.b) {
		switch s.b[s.i] {
		case ',':
			s.i++
			return false, nil
		case end:
			s.i++
			return true, nil
		}
	}
	return false, s.unexpected(fmt.Sprintf("',' or %q", end))
}

func (s *Scanner) literal(want string) error {
	if !bytes.HasPrefix(s.b[s.i:], []byte(want)) {
		return s.fail("malformed literal, " + want + " was expected")
	}
	s.i += len(want)
	return nil
}

func (s *Scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	switch {
	case s.i < len(s.b) && s.b[s.i] == '0':
		s.i++
	case !s.digits():
		return s.unexpected("a digit")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

func (s *Scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// str checks the string that begins at the place.
func (s *Scanner) str() error {
	b := s.b
	i := s.i + 1
	for i < len(b) {
		c := b[i]
		switch {
		case c == '"':
			s.i = i + 1
			return nil
		case c == '\\':
			n := escape(b[i:])
			if n == 0 {
				s.i = i
				return s.fail("malformed escape in a string")
			}
			i += n
		case c < 0x20:
			s.i = i
			return s.fail("control character in a string")
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				s.i = i
				return s.fail("invalid UTF-8 in a string")
			}
			i += n
		}
	}
	s.i = i
	return s.fail("the JSON ends within a string")
}

// escape is the length of the escape at the start of b, 0 if it is malformed.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && hex4(b[2:6]) >= 0 {
			return 6
		}
	}
	return 0
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
