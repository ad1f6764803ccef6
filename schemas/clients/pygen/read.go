package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// API is the specification as the templates need it.
type API struct {
	Enums     []Enum
	Models    []Model
	Resources []Resource
}

// Enum is a closed set of strings that has a name.
type Enum struct {
	Name, Doc string
	Values    []string
}

// Model is an object in an answer.
type Model struct {
	Name, Base, Doc string
	Fields          []Field // those of Base too
	Own             []Field // those that Base lacks
}

// Field is a member of a model.
type Field struct {
	Wire, Name, Doc string
	Type, Decode    string
	Required        bool
	Secret          bool
}

// Resource is a group of operations: an attribute of the client.
type Resource struct {
	Name, Class, Doc string
	Operations       []Operation
}

// Operation is a method of a resource.
type Operation struct {
	ID, Name, Method, Path string
	Doc                    string
	PathParams, Query      []Param
	Body                   []Param
	Kind                   string // model, page, list, text or none
	Type, Decode           string // of the model, or of an item
	Items, ItemsType       string // the array of a model that is paged
	Credential             string
	Accept                 []int // statuses other than 2xx that carry the model
	Idempotent, Patch      bool
	IfMatch, IfNoneMatch   bool
}

// Param is an argument of a method.
type Param struct {
	Wire, Name, Doc string
	Type, Encode    string
	Required        bool
	Null            bool
}

// reader collects what the operations use.
type reader struct {
	doc    *openapi3.T
	enums  map[string]Enum
	models map[string]Model
}

func read(doc *openapi3.T) (*API, error) {
	r := &reader{doc: doc, enums: make(map[string]Enum), models: make(map[string]Model)}
	for name, ref := range doc.Components.Schemas {
		if len(ref.Value.Enum) > 0 {
			r.enums[name] = Enum{Name: name, Doc: ref.Value.Description, Values: values(ref.Value)}
		}
	}
	resources := make(map[string]*Resource)
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Value(path)
		for method, op := range item.Operations() {
			o, resource, err := r.operation(path, method, item, op)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", op.OperationID, err)
			}
			if resources[resource] == nil {
				resources[resource] = &Resource{Name: resource, Class: pascal(resource)}
			}
			resources[resource].Operations = append(resources[resource].Operations, o)
		}
	}
	if _, _, err := r.output(openapi3.NewSchemaRef("#/components/schemas/FieldError", doc.Components.Schemas["FieldError"].Value), "FieldError"); err != nil {
		return nil, err
	}
	api := &API{}
	for _, tag := range doc.Tags {
		name := strings.ReplaceAll(tag.Name, "-", "_")
		if res := resources[name]; res != nil {
			res.Doc = tag.Description
			slices.SortFunc(res.Operations, func(a, b Operation) int { return cmp.Compare(a.Name, b.Name) })
			api.Resources = append(api.Resources, *res)
			delete(resources, name)
		}
	}
	if len(resources) > 0 {
		return nil, fmt.Errorf("resources without a tag that describes them: %v", slices.Collect(maps.Keys(resources)))
	}
	for _, name := range slices.Sorted(maps.Keys(r.enums)) {
		api.Enums = append(api.Enums, r.enums[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.models)) {
		m := r.models[name]
		r.inherit(&m)
		api.Models = append(api.Models, m)
	}
	return api, nil
}

// Names are those of all that the module of models defines, sorted.
func (a *API) Names() []string {
	var names []string
	for _, e := range a.Enums {
		names = append(names, e.Name)
	}
	for _, m := range a.Models {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

// inherit makes a model that says all of another one's fields and more, and its name too, that one's subclass.
func (r *reader) inherit(m *Model) {
	m.Own = m.Fields
	for _, base := range r.models {
		if base.Name == m.Name || !strings.HasPrefix(m.Name, base.Name) || len(base.Name) < len(m.Base) {
			continue
		}
		own := slices.DeleteFunc(slices.Clone(m.Fields), func(f Field) bool {
			return slices.ContainsFunc(base.Fields, func(b Field) bool { return b.Wire == f.Wire && b.Type == f.Type })
		})
		if len(own) == len(m.Fields)-len(base.Fields) {
			m.Base, m.Own = base.Name, own
		}
	}
}

func (r *reader) operation(path, method string, item *openapi3.PathItem, op *openapi3.Operation) (Operation, string, error) {
	resource, name := derive(op.Tags[0], op.OperationID)
	o := Operation{
		ID: op.OperationID, Name: name, Method: method, Path: path,
		Doc: sentence(op.Summary) + "\n\n" + op.Description, Patch: method == http.MethodPatch,
	}
	o.Credential, _ = op.Extensions["x-credential"].(string)
	for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
		if err := r.parameter(&o, ref.Value); err != nil {
			return o, "", err
		}
	}
	if op.RequestBody != nil {
		if err := r.body(&o, op.RequestBody.Value); err != nil {
			return o, "", err
		}
	}
	return o, resource, r.answer(&o, op)
}

func (r *reader) parameter(o *Operation, p *openapi3.Parameter) error {
	switch p.In + " " + p.Name {
	case "header Idempotency-Key":
		o.Idempotent = true
		return nil
	case "header If-Match":
		o.IfMatch = true
		return nil
	case "header If-None-Match":
		o.IfNoneMatch = true
		return nil
	}
	typ, encode := r.input(p.Schema, python(p.Name))
	param := Param{
		Wire: p.Name, Name: python(p.Name), Type: typ, Encode: encode, Required: p.Required,
		Doc: cmp.Or(p.Description, p.Schema.Value.Description),
	}
	switch p.In {
	case "path":
		o.PathParams = append(o.PathParams, param)
	case "query":
		o.Query = append(o.Query, param)
	default:
		return fmt.Errorf("parameter %s in the %s: pygen does not know how to send it", p.Name, p.In)
	}
	return nil
}

func (r *reader) body(o *Operation, body *openapi3.RequestBody) error {
	media := body.Content.Get("application/json")
	if media == nil {
		return fmt.Errorf("a body without application/json")
	}
	schema := media.Schema.Value
	if o.ID == "PublishEvents" { // one event or many: publish and publish_many, in the template
		schema = r.doc.Components.Schemas["EventInput"].Value
	}
	if !schema.Type.Is("object") {
		return fmt.Errorf("a body that is not an object: pygen does not know its arguments")
	}
	for _, name := range order(schema) {
		prop := schema.Properties[name]
		typ, encode := r.input(prop, python(name))
		o.Body = append(o.Body, Param{
			Wire: name, Name: python(name), Type: typ, Encode: encode, Doc: prop.Value.Description,
			Required: slices.Contains(schema.Required, name), Null: prop.Value.Nullable,
		})
	}
	return nil
}

// answer says what a method returns: what the successes carry.
func (r *reader) answer(o *Operation, op *openapi3.Operation) error {
	for _, status := range slices.Sorted(maps.Keys(op.Responses.Map())) {
		response := op.Responses.Value(status).Value
		media := response.Content.Get("application/json")
		if !strings.HasPrefix(status, "2") {
			if media != nil && media.Schema.Ref != "#/components/schemas/Error" {
				var code int
				if _, err := fmt.Sscan(status, &code); err != nil {
					return err
				}
				o.Accept = append(o.Accept, code)
			}
			continue
		}
		if o.Kind != "" {
			return fmt.Errorf("more than one kind of success")
		}
		_, paged := response.Headers["X-Next-Cursor"]
		switch {
		case media == nil:
			o.Kind, o.Type = "text", "str"
		case o.Method == http.MethodDelete:
			o.Kind, o.Type = "none", "None"
		case media.Schema.Value.Type.Is("array"):
			typ, decode, err := r.output(media.Schema.Value.Items, "")
			if err != nil {
				return err
			}
			o.Kind, o.Type, o.Decode = "list", typ, decode
			if paged {
				o.Kind = "page"
			}
		default:
			typ, decode, err := r.output(media.Schema, "")
			if err != nil {
				return err
			}
			o.Kind, o.Type, o.Decode = "model", typ, decode
			if m, ok := r.models[typ]; ok && paged {
				for _, f := range m.Fields {
					if inner, is := strings.CutPrefix(f.Type, "list["); is {
						o.Items, o.ItemsType = f.Name, strings.TrimSuffix(inner, "]")
					}
				}
			} else if !ok {
				o.Kind = "value"
			}
		}
	}
	return nil
}

// order is the order of an object's members in which a reader wants them: the required ones as the specification lists them.
func order(s *openapi3.Schema) []string {
	rest := slices.DeleteFunc(slices.Sorted(maps.Keys(s.Properties)), func(name string) bool { return slices.Contains(s.Required, name) })
	return append(slices.Clone(s.Required), rest...)
}

// values are the members of an enum, null left out.
func values(s *openapi3.Schema) []string {
	var out []string
	for _, v := range s.Enum {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

func sentence(s string) string {
	if s != "" && !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
