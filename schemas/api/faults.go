package api

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"hookledger/schemas/api/apierr"
	"hookledger/schemas/api/rawjson"
	"hookledger/schemas/catalogue"
)

// Where a field is.
const (
	inBody   = "body"
	inQuery  = "query"
	inHeader = "header"
)

const (
	messageUnknown   = "is not known here"
	messageTwice     = "is given more than once"
	messageMissing   = "is missing"
	messageSurrogate = `has a \u escape that is half a character`
)

// malformed is the 400 for an error of the JSON scanner.
func malformed(err error, line int) *apierr.Error {
	var syntax *rawjson.Error
	if !errors.As(err, &syntax) {
		return apierr.Internal(err)
	}
	e := apierr.Malformed("the body is not JSON as it is accepted here: %s", syntax.Error())
	e.Details = map[string]any{"offset": syntax.Offset}
	if line > 0 {
		e.Message = fmt.Sprintf("line %d of the body is not JSON as it is accepted here: %s", line, syntax.Error())
		e.Details["line"] = line
	}
	return e
}

// didYouMean adds to a message what was probably meant.
func didYouMean(f apierr.Field) apierr.Field {
	if f.Suggestion != "" {
		f.Message += ": did you mean " + f.Suggestion + "?"
	}
	return f
}

// unknownName is a field or parameter that does not exist, with those that do.
func unknownName(in, at, name string, known []string) apierr.Field {
	return didYouMean(apierr.Field{In: in, Field: at, Message: messageUnknown, Allowed: known, Suggestion: catalogue.Nearest(name, known)})
}

// unknownEvent says which names there are, and which was probably meant.
func unknownEvent(c *catalogue.Catalogue, at, name string) apierr.Field {
	return didYouMean(apierr.Field{In: inBody, Field: at, Message: "is not a known event name", Allowed: c.Names(), Suggestion: c.Suggest(name)})
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// pointerStep makes a step of a JSON pointer of a quoted member name, cut to what an answer can bear.
func pointerStep(quoted []byte) string {
	name, ok := rawjson.Unquote(quoted)
	if !ok {
		name = quoted
	}
	return pointerEscapes.Replace(cut(string(name)))
}

// cut bounds what is repeated of a request in its answer.
func cut(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// schemaFaults translates what kin-openapi found into fields, each under the pointer or name at.
func (s *Spec) schemaFaults(in, at string, err error) []apierr.Field {
	var fields []apierr.Field
	var walk func(error)
	walk = func(err error) {
		if len(fields) >= maxFields {
			return
		}
		{
			var e openapi3.MultiError
			var e1 *openapi3.SchemaError
			switch {
			case errors.As(err, &e):
				for _, one := range e {
					walk(one)
				}
			case errors.As(err, &e1):
				fields = append(fields, s.schemaFault(in, at, e1))
			default:
				fields = append(fields, apierr.Field{In: in, Field: at, Message: err.Error()})
			}
		}
	}
	walk(err)
	return fields
}

func (s *Spec) schemaFault(in, at string, e *openapi3.SchemaError) apierr.Field {
	f := apierr.Field{In: in, Field: at, Message: e.Reason}
	for _, step := range e.JSONPointer() {
		f.Field += "/" + pointerEscapes.Replace(cut(step))
	}
	switch e.SchemaField {
	case "required":
		f.Message = messageMissing
	case "enum":
		if v, ok := e.Value.(string); ok && flag(e.Schema.Extensions, "x-known-event") {
			return unknownEvent(s.catalogue, f.Field, v)
		}
		for _, v := range e.Schema.Enum {
			if text, ok := v.(string); ok {
				f.Allowed = append(f.Allowed, text)
			}
		}
		f.Message = "must be one of " + strings.Join(f.Allowed, ", ")
		if v, ok := e.Value.(string); ok {
			f.Suggestion = catalogue.Nearest(v, f.Allowed)
			return didYouMean(f)
		}
	case "type":
		if e.Schema.Type != nil {
			f.Message = "must be " + article(e.Schema.Type.Slice()[0])
		}
	case "nullable":
		f.Message = "must not be null"
	case "pattern":
		f.Message = "must be " + text(e.Schema.Extensions, "x-form")
	case "format":
		f.Message = "must be a " + e.Schema.Format
	case "minLength", "maxLength":
		f.Message = "must have " + between(least(e.Schema.MinLength), e.Schema.MaxLength) + " characters"
	case "minItems", "maxItems":
		f.Message = "must have " + between(least(e.Schema.MinItems), e.Schema.MaxItems) + " items"
	case "minimum", "maximum":
		lower := math.Inf(-1)
		if e.Schema.Min != nil {
			lower = *e.Schema.Min
		}
		f.Message = "must be " + between(lower, e.Schema.Max)
	}
	return f
}

// least is a lower bound of a count; none at all is no bound.
func least(n uint64) float64 {
	if n == 0 {
		return math.Inf(-1)
	}
	return float64(n)
}

// between says both bounds at once, so that who mends one doesn't meet the other.
func between[N uint64 | float64](lower float64, most *N) string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch {
	case most == nil:
		return "at least " + number(lower)
	case math.IsInf(lower, -1):
		return "at most " + number(float64(*most))
	}
	return number(lower) + " to " + number(float64(*most))
}

func article(kind string) string {
	if strings.ContainsRune("aeiou", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}
