package api

import (
	"bytes"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hookledger/schemas/api/apierr"
	"hookledger/schemas/api/rawjson"
	"hookledger/schemas/catalogue"
)

// MaxDepth is how deep JSON may be nested, counted from the body or, with several events, from each event.
const MaxDepth = 128

// EventLimits bounds POST /events. The zero value of a field means its default.
type EventLimits struct {
	// Data is the largest `data` of one event in bytes, as sent: 256 KiB.
	Data int
	// Single is the largest body with one event: 1 MiB.
	Single int64
	// Body is the largest body: 8 MiB.
	Body int64
	// Count is the most events of one request: 1,000.
	Count int
}

func (l EventLimits) withDefaults() EventLimits {
	if l.Data == 0 {
		l.Data = 256 << 10
	}
	if l.Single == 0 {
		l.Single = 1 << 20
	}
	if l.Body == 0 {
		l.Body = 8 << 20
	}
	if l.Count == 0 {
		l.Count = 1000
	}
	return l
}

// maxFields is how many offending fields one answer names: more help nobody, and the answer must not be larger
// than the request.
const maxFields = 1000

// ReadEvents reads the body of POST /events, one event, an array or NDJSON, and judges it exactly as the
// specification does (EventsInput). It returns all events, or the error to answer: 400 for what is no JSON, 413 for
// `data` that is too large, 422 naming every offending field. The events' Data shares memory with body.
//
// It is written by hand because it is the hot path: decoding into maps and visiting a schema costs several times
// more, and most of it for `data`, which nobody looks at.
func ReadEvents(contentType string, body []byte, c *catalogue.Catalogue, limits EventLimits) ([]NewEvent, *apierr.Error) {
	limits = limits.withDefaults()
	r := eventReader{catalogue: c, limits: limits, members: []string{"created_at", "data", "event", "id", "index_id", "ordering_key"}}
	if int64(len(body)) > limits.Body {
		return nil, apierr.TooLarge(limits.Body)
	}
	var err error
	switch contentType {
	case mediaNDJSON:
		err = r.lines(body)
	default:
		s := rawjson.New(body, MaxDepth)
		switch s.Peek() {
		case rawjson.Array:
			err = r.array(&s)
		case rawjson.Object:
			if int64(len(body)) > limits.Single {
				return nil, apierr.TooLarge(limits.Single)
			}
			r.events = make([]NewEvent, 0, 1)
			err = r.event(&s, "")
			if err == nil {
				err = s.End()
			}
		default:
			var v []byte
			if v, err = s.Value(); err == nil {
				if err = s.End(); err == nil {
					r.fault("", "must be an event or an array of events, not "+rawjson.KindOf(v).String())
				}
			}
		}
	}
	if err != nil {
		return nil, malformed(err, r.line)
	}
	return r.verdict()
}

type eventReader struct {
	catalogue *catalogue.Catalogue
	limits    EventLimits
	members   []string // of an event
	events    []NewEvent
	count     int
	line      int // of NDJSON, from 1; else 0
	faults    []apierr.Field
	large     []apierr.Field
}

func (r *eventReader) verdict() ([]NewEvent, *apierr.Error) {
	switch {
	case len(r.faults) > 0:
		return nil, apierr.Invalid(r.faults...)
	case len(r.large) > 0:
		return nil, apierr.FieldsTooLarge(int64(r.limits.Data), r.large)
	}
	return r.events, nil
}

func (r *eventReader) array(s *rawjson.Scanner) error {
	err := s.Array(func(i int) error { return r.element(s, i) })
	if err == nil {
		err = s.End()
	}
	if err == nil && r.count == 0 {
		r.fault("", "must have at least one event")
	}
	return err
}

func (r *eventReader) lines(body []byte) error {
	for len(body) > 0 {
		r.line++
		var line []byte
		line, body, _ = bytes.Cut(body, []byte{'\n'})
		if line = bytes.Trim(line, " \t\r"); len(line) == 0 {
			continue
		}
		s := rawjson.New(line, MaxDepth)
		if err := r.element(&s, r.count); err != nil {
			return err
		}
		if err := s.End(); err != nil {
			return err
		}
	}
	if r.count == 0 {
		r.fault("", "must have at least one event")
	}
	return nil
}

// element reads the i-th of several.
func (r *eventReader) element(s *rawjson.Scanner, i int) error {
	if r.count++; r.count == r.limits.Count+1 {
		r.fault("", "must have at most "+strconv.Itoa(r.limits.Count)+" events")
	}
	if r.count > r.limits.Count { // still checked to be JSON, no longer kept
		_, err := s.Value()
		return err
	}
	at := "/" + strconv.Itoa(i)
	if s.Peek() != rawjson.Object {
		v, err := s.Value()
		if err == nil {
			r.fault(at, "must be an object, not "+rawjson.KindOf(v).String())
		}
		return err
	}
	return r.event(s, at)
}

// The members of an event, as bits of what was seen.
const (
	seenID = 1 << iota
	seenEvent
	seenData
	seenIndexID
	seenOrderingKey
	seenCreatedAt
)

// event reads one object.
func (r *eventReader) event(s *rawjson.Scanner, at string) error {
	var e NewEvent
	seen := 0
	err := s.Object(func(quoted, value []byte) error {
		name, _ := rawjson.Unquote(quoted) // nil for half a surrogate pair: unknown then
		var bit int
		switch string(name) {
		case "id":
			bit = seenID
		case "event":
			bit = seenEvent
		case "data":
			bit = seenData
		case "index_id":
			bit = seenIndexID
		case "ordering_key":
			bit = seenOrderingKey
		case "created_at":
			bit = seenCreatedAt
		default:
			r.add(unknownName(inBody, at+"/"+pointerStep(quoted), string(name), r.members))
			return nil
		}
		if seen&bit != 0 {
			r.fault(at+"/"+string(name), messageTwice)
			return nil
		}
		seen |= bit
		r.member(&e, bit, at, value)
		return nil
	})
	if err != nil {
		return err
	}
	if seen&seenEvent == 0 {
		r.fault(at+"/event", messageMissing)
	}
	if seen&seenData == 0 {
		r.fault(at+"/data", messageMissing)
	}
	r.events = append(r.events, e)
	return nil
}

func (r *eventReader) member(e *NewEvent, bit int, at string, value []byte) {
	switch bit {
	case seenData:
		if k := rawjson.KindOf(value); k != rawjson.Object {
			r.fault(at+"/data", "must be an object, not "+k.String())
		} else if len(value) > r.limits.Data {
			r.large = append(r.large, apierr.Field{In: inBody, Field: at + "/data", Message: "is larger than " + strconv.Itoa(r.limits.Data) + " bytes"})
		}
		e.Data = value
	case seenEvent:
		if text, ok := r.text(value, at+"/event", false); ok {
			name, known := r.catalogue.Intern(text)
			if !known {
				r.unknownEvent(at+"/event", string(text))
			}
			e.Event = name
		}
	case seenID:
		if text, ok := r.text(value, at+"/id", true); ok && text != nil {
			if !visible(text) {
				r.fault(at+"/id", "must be 1 to 128 visible ASCII characters")
			}
			e.ID = string(text)
		}
	case seenIndexID:
		e.IndexID = r.label(value, at+"/index_id")
	case seenOrderingKey:
		e.OrderingKey = r.label(value, at+"/ordering_key")
	case seenCreatedAt:
		if text, ok := r.text(value, at+"/created_at", true); ok && text != nil {
			if t, ok := timestamp(text); ok {
				e.CreatedAt = t
			} else {
				r.fault(at+"/created_at", "must be an RFC 3339 timestamp of the years 1980 to 2999")
			}
		}
	}
}

// text returns the text of a string; nil and true for a null that is allowed.
func (r *eventReader) text(value []byte, at string, nullable bool) ([]byte, bool) {
	switch k := rawjson.KindOf(value); {
	case k == rawjson.Null && nullable:
		return nil, true
	case k != rawjson.String:
		r.fault(at, "must be a string, not "+k.String())
		return nil, false
	}
	text, ok := rawjson.Unquote(value)
	if !ok {
		r.fault(at, messageSurrogate)
	}
	if text == nil {
		text = []byte{}
	}
	return text, ok
}

// label is the form of index_id and ordering_key.
func (r *eventReader) label(value []byte, at string) string {
	text, ok := r.text(value, at, true)
	if !ok || text == nil {
		return ""
	}
	if n := utf8.RuneCount(text); n < 1 || n > 255 || hasControl(text) {
		r.fault(at, "must be 1 to 255 characters without control characters")
	}
	return string(text)
}

func (r *eventReader) unknownEvent(at, name string) {
	r.add(unknownEvent(r.catalogue, at, name))
}

func (r *eventReader) fault(at, message string) {
	r.add(apierr.Field{In: inBody, Field: at, Message: message})
}

func (r *eventReader) add(f apierr.Field) {
	if len(r.faults) < maxFields {
		r.faults = append(r.faults, f)
	}
}

// visible is ^[!-~]{1,128}$.
func visible(text []byte) bool {
	for _, c := range text {
		if c < '!' || c > '~' {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= 128
}

func hasControl(text []byte) bool {
	for _, c := range text {
		if c < 0x20 || c == 0x7f {
			return true
		}
	}
	return false
}

// timestamp reads RFC 3339 as strictly as the specification's format and pattern say: the library's strict reader allows any
// number of fractional digits and any year.
func timestamp(text []byte) (time.Time, bool) {
	var t time.Time
	if len(text) < len("2006-01-02T15:04:05Z") || len(text) > len("2006-01-02T15:04:05.000000000+00:00") || t.UnmarshalText(text) != nil {
		return t, false
	}
	if year := string(text[:4]); year < "1980" || year > "2999" {
		return t, false
	}
	return t.UTC(), fractionForm.Match(text[19:])
}

var fractionForm = regexp.MustCompile(`^(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

const (
	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
)

// mediaType is the media type of a request, application/json if it says none.
func mediaType(h http.Header) string {
	ct := strings.TrimSpace(h.Get("Content-Type"))
	switch ct {
	case "", mediaJSON: // the common ones, without parsing
		return mediaJSON
	}
	media, params, err := mime.ParseMediaType(ct)
	if err != nil {
		return ct
	}
	if cs, ok := params["charset"]; ok && !strings.EqualFold(cs, "utf-8") {
		return ct
	}
	return media
}
