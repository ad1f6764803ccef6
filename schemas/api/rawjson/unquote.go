package rawjson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Unquote returns the text of a checked string. Without escapes it is a slice of quoted. ok is false if an escape
// names half a surrogate pair, which is no character: encoding/json would put U+FFFD there, so that two different
// strings became one.
func Unquote(quoted []byte) (text []byte, ok bool) {
	in := quoted[1 : len(quoted)-1]
	at := bytes.IndexByte(in, '\\')
	if at < 0 {
		return in, true
	}
	out := append(make([]byte, 0, len(in)), in[:at]...)
	for at < len(in) {
		if in[at] != '\\' {
			out = append(out, in[at])
			at++
			continue
		}
		c := in[at+1]
		at += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(in[at : at+4])
			at += 4
			if utf16.IsSurrogate(r) {
				if at+6 > len(in) || in[at] != '\\' || in[at+1] != 'u' {
					return nil, false
				}
				if r = utf16.DecodeRune(r, hex4(in[at+2:at+6])); r == utf8.RuneError {
					return nil, false
				}
				at += 6
			}
			out = utf8.AppendRune(out, r)
			continue
		}
		out = append(out, c)
	}
	return out, true
}
