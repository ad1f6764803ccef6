package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"hookledger/schemas/api/apierr"
	"hookledger/schemas/api/rawjson"
)

// judge holds a request against its operation. It reads the body, puts it (and the events) into the exchange, and returns
// the error to answer, with every offending field of query, headers and body at once.
func (s *Spec) judge(o Options, ex *exchange, w http.ResponseWriter, r *http.Request, path map[string]string) error {
	op := ex.op
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return apierr.Malformed("the query can't be read: %v", err)
	}
	var faults []apierr.Field
	known := make([]string, 0, len(op.params))
	for _, ref := range op.params {
		p := ref.Value
		var values []string
		switch p.In {
		case openapi3.ParameterInPath:
			if err := visit(p.Schema.Value, path[p.Name]); err != nil {
				return noSuch(p.Name, path[p.Name])
			}
			continue
		case openapi3.ParameterInQuery:
			known = append(known, p.Name)
			values = query[p.Name]
		case openapi3.ParameterInHeader:
			values = r.Header.Values(p.Name)
		}
		faults = append(faults, s.judgeParameter(p, values)...)
	}
	for _, name := range sortedKeys(query) {
		if !slices.Contains(known, name) && len(faults) < maxFields {
			faults = append(faults, unknownName(inQuery, cut(name), name, known))
		}
	}
	if op.BodyLimit == 0 {
		if len(faults) > 0 {
			return apierr.Invalid(faults...)
		}
		return nil
	}
	limit := op.BodyLimit
	if op.Events {
		limit = o.Events.Body
	}
	if ex.body, err = readBody(w, r, limit); err != nil {
		return err
	}
	media := mediaType(r.Header)
	if enc := strings.Join(r.Header.Values("Content-Encoding"), ", "); enc != "" && !strings.EqualFold(enc, "identity") {
		return apierr.BadContentCoding(cut(enc))
	}
	if len(ex.body) > 0 && !slices.Contains(op.contentTypes, media) {
		return apierr.BadContentType(cut(media), op.contentTypes)
	}
	if op.Events {
		events, bad := ReadEvents(media, ex.body, s.catalogue, o.Events)
		if bad != nil {
			if fields, ok := bad.Details["fields"].([]apierr.Field); ok && bad.Code == apierr.ValidationFailed {
				return apierr.Invalid(append(faults, fields...)...)
			}
			return bad
		}
		ex.events = events
	} else if len(ex.body) > 0 || op.bodyRequired {
		more, err := s.judgeBody(op.body, ex.body)
		if err != nil {
			return err
		}
		faults = append(faults, more...)
	}
	if len(faults) > 0 {
		return apierr.Invalid(faults...)
	}
	return nil
}

// readBody reads at most limit bytes. What a caller announces is not believed: memory grows with what arrives.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, apierr.TooLarge(limit)
	}
	const trust = 64 << 10
	body := make([]byte, 0, max(512, min(r.ContentLength, trust)+1))
	src := http.MaxBytesReader(w, r.Body, limit)
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := src.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch tooLarge := (*http.MaxBytesError)(nil); {
		case errors.Is(err, io.EOF):
			return body, nil
		case errors.As(err, &tooLarge):
			return nil, apierr.TooLarge(limit)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, apierr.TooSlow(err)
		case err != nil:
			e := apierr.Malformed("the body ended before it was whole")
			e.Cause = err
			return nil, e
		}
	}
}

var integerForm = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,18})$`)

// judgeParameter judges a query parameter or header; ours are plain strings or integers.
func (s *Spec) judgeParameter(p *openapi3.Parameter, values []string) []apierr.Field {
	in := p.In
	switch {
	case len(values) == 0 && !p.Required:
		return nil
	case len(values) == 0:
		return []apierr.Field{{In: in, Field: p.Name, Message: messageMissing}}
	case len(values) > 1:
		return []apierr.Field{{In: in, Field: p.Name, Message: messageTwice}}
	}
	var value any = values[0]
	if p.Schema.Value.Type.Is(openapi3.TypeInteger) {
		if !integerForm.MatchString(values[0]) {
			return []apierr.Field{{In: in, Field: p.Name, Message: "must be an integer"}}
		}
		value = json.Number(values[0])
	}
	if err := visit(p.Schema.Value, value); err != nil {
		return s.schemaFaults(in, p.Name, err)
	}
	return nil
}

// judgeBody judges a JSON body by the specification.
func (s *Spec) judgeBody(schema *openapi3.Schema, body []byte) ([]apierr.Field, error) {
	if err := rawjson.Check(body, MaxDepth); err != nil { // from here on it is JSON, and not too deep to walk
		return nil, malformed(err, 0)
	}
	scan := rawjson.New(body, MaxDepth)
	d := decoder{}
	value, err := d.value(&scan, schema, "")
	if err != nil {
		return nil, malformed(err, 0)
	}
	if err := visit(schema, value); err != nil {
		lost := slices.Clone(d.faults)
		for _, f := range s.schemaFaults(inBody, "", err) {
			if !slices.ContainsFunc(lost, func(l apierr.Field) bool { return l.Field == f.Field }) { // what was lost can't be judged
				d.faults = append(d.faults, f)
			}
		}
	}
	return d.faults, nil
}

func visit(schema *openapi3.Schema, value any) error {
	return schema.VisitJSON(value, openapi3.MultiErrors(), openapi3.DisableSchemaErrorDetails())
}

// decoder turns JSON into the values that kin-openapi visits, and finds what is lost on that way: names given
// twice, halves of characters, the size of what is verbatim.
type decoder struct{ faults []apierr.Field }

func (d *decoder) fault(at, message string) {
	d.add(apierr.Field{In: inBody, Field: at, Message: message})
}

func (d *decoder) add(f apierr.Field) {
	if len(d.faults) < maxFields {
		d.faults = append(d.faults, f)
	}
}

// members are the names that an object may have.
func members(schema *openapi3.Schema) []string {
	return slices.Sorted(maps.Keys(schema.Properties))
}

func (d *decoder) value(s *rawjson.Scanner, schema *openapi3.Schema, at string) (any, error) {
	kind := s.Peek()
	switch {
	case flag(schema.Extensions, "x-verbatim"), // nobody looks into it
		kind == rawjson.Object && !schema.Type.Permits(openapi3.TypeObject), // nor into what can't be right
		kind == rawjson.Array && !schema.Type.Permits(openapi3.TypeArray):
		return d.whole(s, schema, at)
	case kind == rawjson.Object:
		return d.object(s, schema, at)
	case kind == rawjson.Array:
		a := []any{}
		err := s.Array(func(i int) error {
			v, err := d.value(s, schema.Items.Value, fmt.Sprintf("%s/%d", at, i))
			a = append(a, v)
			return err
		})
		return a, err
	}
	raw, err := s.Value()
	if err != nil {
		return nil, err
	}
	switch rawjson.KindOf(raw) {
	case rawjson.String:
		t, ok := rawjson.Unquote(raw)
		if !ok {
			d.fault(at, messageSurrogate)
		}
		return string(t), nil
	case rawjson.Bool:
		return raw[0] == 't', nil
	case rawjson.Number:
		return json.Number(raw), nil
	}
	return nil, nil
}

// object names every member that the schema does not have; ours are all closed.
func (d *decoder) object(s *rawjson.Scanner, schema *openapi3.Schema, at string) (any, error) {
	m := map[string]any{}
	err := s.Object(func(quoted, value []byte) error {
		name, _ := rawjson.Unquote(quoted) // nil for half a surrogate pair: unknown then
		here := at + "/" + pointerStep(quoted)
		prop := schema.Properties[string(name)]
		if prop == nil {
			d.add(unknownName(inBody, here, string(name), members(schema)))
			return nil
		}
		if _, twice := m[string(name)]; twice {
			d.fault(here, messageTwice)
			return nil
		}
		inner := rawjson.New(value, MaxDepth)
		v, err := d.value(&inner, prop.Value, here)
		m[string(name)] = v
		return err
	})
	return m, err
}

// whole takes a value as one piece and stands in for it by its kind.
func (d *decoder) whole(s *rawjson.Scanner, schema *openapi3.Schema, at string) (any, error) {
	raw, err := s.Value()
	if err != nil {
		return nil, err
	}
	if most, ok := schema.Extensions["x-max-bytes"].(float64); ok && len(raw) > int(most) {
		d.fault(at, fmt.Sprintf("is larger than %.0f bytes", most))
	}
	switch rawjson.KindOf(raw) {
	case rawjson.Object:
		return map[string]any{}, nil
	case rawjson.Null:
		return nil, nil
	case rawjson.Array:
		return []any{}, nil
	case rawjson.String:
		return "", nil
	case rawjson.Bool:
		return true, nil
	}
	return json.Number("0"), nil
}

// noSuch is the 404 for an id in a path that can't be one.
func noSuch(parameter, id string) *apierr.Error {
	id = cut(id)
	switch parameter {
	case "webhook_id":
		return apierr.NoWebhook(id)
	case "delivery_id":
		return apierr.NoDelivery(id)
	case "event_id":
		return apierr.NoEvent(id)
	case "key_id":
		return apierr.NoAPIKey(id)
	}
	return apierr.NoPath(id)
}

func sortedKeys(q url.Values) []string {
	keys := make([]string, 0, len(q))
	for k := range q {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
