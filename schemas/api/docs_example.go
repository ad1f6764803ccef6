package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// example is a curl call of an operation, as short as the specification lets it be. A test judges each by the
// specification.
func (s *Spec) example(o *Operation) string {
	line := "curl"
	if o.Method != http.MethodGet && (o.Method != http.MethodPost || !o.bodyRequired) {
		line += " -X " + o.Method
	}
	switch o.Credential {
	case CredentialAny:
		line += ` -H "X-API-Key: $KEY"`
	case CredentialJWT:
		line += ` -H "Authorization: Bearer $JWT"`
	case CredentialNone:
	}
	path := strings.NewReplacer("{webhook_id}", "wh_...", "{delivery_id}", "del_...", "{event_id}", "evt_...", "{key_id}", "key_...").Replace(o.Path)
	line += ` "$HOST` + path + s.exampleQuery(o) + `"`
	if o.bodyRequired {
		line += " \\\n  --json '" + string(s.exampleBody(o)) + "'"
	}
	return line
}

// exampleQuery has what must be there.
func (s *Spec) exampleQuery(o *Operation) string {
	var parts []string
	for _, ref := range o.params {
		if p := ref.Value; p.In == openapi3.ParameterInQuery && p.Required {
			parts = append(parts, p.Name+"=...")
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "?" + strings.Join(parts, "&")
}

func (s *Spec) exampleBody(o *Operation) []byte {
	b, err := json.Marshal(s.exampleValue("", o.body))
	if err != nil { // plain values always can be written
		return nil
	}
	return b
}

// exampleValue is a value of a schema by the name of its member: what is required, and for an object that requires nothing its
// first plain member.
func (s *Spec) exampleValue(name string, sc *openapi3.Schema) any {
	if len(sc.OneOf) > 0 {
		return s.exampleValue(name, sc.OneOf[0].Value)
	}
	switch {
	case flag(sc.Extensions, "x-verbatim"):
		return map[string]any{"export_id": "exp_1"}
	case flag(sc.Extensions, "x-known-event"):
		return s.catalogue.Names()[0]
	case len(sc.Enum) > 0:
		return sc.Enum[0]
	case sc.Type.Permits(openapi3.TypeObject):
		members := slices.Clone(sc.Required)
		if len(members) == 0 && sc.Properties["name"] != nil {
			members = []string{"name"}
		}
		o := make(map[string]any, len(members))
		for _, m := range members {
			o[m] = s.exampleValue(m, sc.Properties[m].Value)
		}
		return o
	case sc.Type.Permits(openapi3.TypeArray):
		return []any{s.exampleValue(name, sc.Items.Value)}
	case sc.Type.Permits(openapi3.TypeInteger), sc.Type.Permits(openapi3.TypeNumber):
		if sc.Min != nil {
			return *sc.Min
		}
		return 1
	case sc.Type.Permits(openapi3.TypeBoolean):
		return true
	case name == "url":
		return "https://example.com/hook"
	}
	return "my " + strings.ReplaceAll(name, "_", " ")
}
