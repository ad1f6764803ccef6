package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

const componentPrefix = "#/components/schemas/"

// output is the Python type of a value in an answer, and the expression that decodes it. What it names is collected.
// hint names a model whose schema has no name.
func (r *reader) output(ref *openapi3.SchemaRef, hint string) (typ, decode string, err error) {
	typ, decode, err = r.present(ref, hint)
	if err == nil && ref.Value.Nullable {
		typ, decode = typ+" | None", "nullable("+decode+")"
	}
	return typ, decode, err
}

// present is output for a value that is not null.
func (r *reader) present(ref *openapi3.SchemaRef, hint string) (typ, decode string, err error) {
	s := ref.Value
	name := strings.TrimPrefix(ref.Ref, componentPrefix)
	if _, ok := r.enums[name]; ok {
		return name, "enumeration(" + name + ")", nil
	}
	switch verbatim, _ := s.Extensions["x-verbatim"].(bool); {
	case verbatim:
		return "JSONObject", "json_object", nil
	case s.Type.Is("array"):
		item, d, err := r.output(s.Items, strings.TrimSuffix(hint, "s"))
		return "list[" + item + "]", "list_of(" + d + ")", err
	case s.Type.Is("object") && len(s.Properties) > 0:
		if name == "" {
			name = hint
		}
		if name == "" {
			return "", "", fmt.Errorf("an object without a name: give its schema one among the components")
		}
		return name, name + ".decode", r.model(name, s)
	case s.Type.Is("object") && s.AdditionalProperties.Schema != nil:
		item, d, err := r.output(s.AdditionalProperties.Schema, hint)
		return "dict[str, " + item + "]", "map_of(" + d + ")", err
	case s.Type.Is("object"):
		return "dict[str, Any]", "map_of(anything)", nil
	case s.Type.Is("string") && s.Format == "date-time":
		return "datetime", "timestamp", nil
	case s.Type.Is("string"):
		return "str", "text", nil
	case s.Type.Is("integer"):
		return "int", "integer", nil
	case s.Type.Is("number"):
		return "float", "number", nil
	case s.Type.Is("boolean"):
		return "bool", "flag", nil
	}
	return "Any", "anything", nil
}

// model collects an object and what it holds.
func (r *reader) model(name string, s *openapi3.Schema) error {
	if _, ok := r.models[name]; ok {
		return nil
	}
	m := Model{Name: name, Doc: s.Description}
	r.models[name] = m
	for _, wire := range order(s) {
		prop := s.Properties[wire]
		f := Field{Wire: wire, Name: python(wire), Required: slices.Contains(s.Required, wire), Secret: secretFields[wire]}
		if f.Name == "response" || f.Name == "extra" || f.Name == "etag" {
			return fmt.Errorf("%s.%s: the name is taken by every model of the Python client: map it in names.go", name, wire)
		}
		if prop.Ref == "" || !strings.HasSuffix(prop.Ref, "/Timestamp") {
			f.Doc = prop.Value.Description
		}
		if _, isEnum := r.enums[strings.TrimPrefix(prop.Ref, componentPrefix)]; isEnum {
			f.Doc = "" // it stands with the enum
		}
		var err error
		if f.Type, f.Decode, err = r.output(prop, name+pascal(wire)); err != nil {
			return fmt.Errorf("%s.%s: %w", name, wire, err)
		}
		if !f.Required && !strings.HasSuffix(f.Type, "| None") {
			f.Type += " | None"
		}
		m.Fields = append(m.Fields, f)
	}
	r.models[name] = m
	return nil
}

// input is the Python type of an argument, and the expression that makes of it what is sent.
func (r *reader) input(ref *openapi3.SchemaRef, name string) (typ, encode string) {
	s := ref.Value
	if len(s.Enum) > 0 {
		quoted := make([]string, 0, len(s.Enum))
		for _, v := range values(s) {
			quoted = append(quoted, `"`+v+`"`)
		}
		typ = "Literal[" + strings.Join(quoted, ", ") + "]"
		if enum := r.enumOf(ref); enum != "" {
			typ = enum + " | " + typ
		}
		return typ, name
	}
	switch verbatim, _ := s.Extensions["x-verbatim"].(bool); {
	case verbatim:
		return "Mapping[str, Any]", "verbatim(" + name + ")"
	case s.Type.Is("array"):
		item, _ := r.input(s.Items, name)
		return "Sequence[" + item + "]", fmt.Sprintf("several(%q, %s)", name, name)
	case s.Type.Is("string") && s.Format == "date-time":
		return "datetime | str", "moment(" + name + ")"
	case s.Type.Is("string"):
		return "str", name
	case s.Type.Is("integer"):
		return "int", name
	case s.Type.Is("number"):
		return "float", name
	case s.Type.Is("boolean"):
		return "bool", name
	}
	return "Any", name
}

// enumOf is the enum that a schema names, or whose values its own are.
func (r *reader) enumOf(ref *openapi3.SchemaRef) string {
	if name := strings.TrimPrefix(ref.Ref, componentPrefix); r.enums[name].Name != "" {
		return name
	}
	if goType, ok := ref.Value.Extensions["x-go-type"].(string); ok && r.enums[goType].Name != "" {
		return goType
	}
	return ""
}
