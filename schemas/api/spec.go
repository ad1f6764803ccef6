package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"hookledger/schemas"
	"hookledger/schemas/catalogue"
)

// Credential says which credentials an operation takes.
type Credential string

// The credentials of x-credential.
const (
	CredentialNone Credential = "none"
	CredentialAny  Credential = "any"
	CredentialJWT  Credential = "jwt"
)

// ScopeNone is the scope of a public operation.
const ScopeNone Scope = "none"

// ladder holds the scopes in rising order.
var ladder = [...]Scope{ScopeNone, ScopeSearch, ScopeRead, ScopeWrite, ScopeAdmin}

// Allows says whether someone with scope s may do what needs the scope need: admin > write > read > search. What is
// not a scope allows nothing and is allowed to nobody.
func (s Scope) Allows(need Scope) bool {
	have, want := slices.Index(ladder[:], s), slices.Index(ladder[:], need)
	return want >= 0 && have >= want
}

// Operation is what the server acts on of one operation of the specification.
type Operation struct {
	// ID is the operationId: the name of the method of [ServerInterface].
	ID     string
	Method string
	// Path is the path's template: what a metric's label may be.
	Path       string
	Scope      Scope
	Credential Credential
	// BodyLimit is the largest body in bytes; 0: a body is not read.
	BodyLimit int64
	// Events says that the body is judged by [ReadEvents].
	Events bool
	// Operator marks what is not of the API but for whoever runs the service (/livez ...).
	Operator bool

	body         *openapi3.Schema
	bodyRequired bool
	contentTypes []string
	params       openapi3.Parameters
}

// Spec is the specification, ready for use, with the names of one event catalogue. It does not change after
// [Load] and is safe for use by any number of goroutines.
type Spec struct {
	doc        *openapi3.T
	catalogue  *catalogue.Catalogue
	operations []*Operation
	byRoute    map[route]*Operation
	methods    map[string][]string // by template
	json       []byte
	etag       string
	docs       docs
}

// route is how a request is matched to its operation.
type route struct{ method, template string }

// Load reads the specification that is compiled in and puts the catalogue's names into it. An error means that the
// program was built wrongly, or that the catalogue is empty.
func Load(c *catalogue.Catalogue) (*Spec, error) {
	doc, err := openapi3.NewLoader().LoadFromData(schemas.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("read the API's specification (schemas/openapi.yaml): %w", err)
	}
	s := &Spec{doc: doc, catalogue: c, byRoute: map[route]*Operation{}, methods: map[string][]string{}}
	if len(c.Names()) == 0 {
		return nil, fmt.Errorf("read the API's specification: the event catalogue is empty: give it at least one name")
	}
	for _, ref := range doc.Components.Schemas {
		if flag(ref.Value.Extensions, "x-known-event") {
			for _, name := range c.Names() {
				ref.Value.Enum = append(ref.Value.Enum, name)
			}
		}
	}
	for name, ref := range doc.Components.Callbacks {
		doc.Paths.Value("/api/v2/webhooks").Post.Callbacks = openapi3.Callbacks{
			strings.ToLower(name): {Ref: "#/components/callbacks/" + name, Value: ref.Value},
		}
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("check the API's specification (schemas/openapi.yaml): %w", err)
	}
	for _, path := range doc.Paths.InMatchingOrder() {
		item := doc.Paths.Find(path)
		for method, op := range item.Operations() {
			if err := s.add(path, method, item, op); err != nil {
				return nil, fmt.Errorf("check the API's specification: %s %s: %w", method, path, err)
			}
		}
	}
	slices.SortFunc(s.operations, func(a, b *Operation) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Method, b.Method)
	})
	for _, m := range s.methods {
		slices.Sort(m)
	}
	if s.json, err = served(doc); err != nil {
		return nil, fmt.Errorf("write the API's specification as JSON: %w", err)
	}
	sum := sha256.Sum256(s.json)
	s.etag = `"` + hex.EncodeToString(sum[:8]) + `"`
	s.docs, err = s.renderDocs()
	return s, err
}

// served is the document as others see it: without what only our generators read.
func served(doc *openapi3.T) ([]byte, error) {
	whole, err := doc.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(whole))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	strip(tree)
	return json.Marshal(tree)
}

func strip(tree any) {
	switch t := tree.(type) {
	case map[string]any:
		maps.DeleteFunc(t, func(name string, _ any) bool { return strings.HasPrefix(name, "x-go-") })
		for _, v := range t {
			strip(v)
		}
	case []any:
		for _, v := range t {
			strip(v)
		}
	}
}

func (s *Spec) add(path, method string, item *openapi3.PathItem, op *openapi3.Operation) error {
	o := &Operation{
		ID: op.OperationID, Method: method, Path: path,
		Scope:      Scope(text(op.Extensions, "x-scope")),
		Credential: Credential(text(op.Extensions, "x-credential")),
		Events:     flag(op.Extensions, "x-event-validator"),
		Operator:   slices.Contains(op.Tags, "operations"),
		params:     append(slices.Clone(item.Parameters), op.Parameters...),
	}
	if !slices.Contains(ladder[:], o.Scope) {
		return fmt.Errorf("x-scope %q is none of %v", o.Scope, ladder)
	}
	switch o.Credential {
	case CredentialNone, CredentialAny, CredentialJWT:
	default:
		return fmt.Errorf("x-credential %q is none of none, any, jwt", o.Credential)
	}
	if (o.Scope == ScopeNone) != (o.Credential == CredentialNone) {
		return fmt.Errorf("x-scope %q does not go with x-credential %q", o.Scope, o.Credential)
	}
	if op.RequestBody != nil {
		limit, ok := op.Extensions["x-body-limit"].(float64)
		if !ok || limit < 1 {
			return fmt.Errorf("x-body-limit is missing")
		}
		o.BodyLimit = int64(limit)
		o.bodyRequired = op.RequestBody.Value.Required
		for ct := range op.RequestBody.Value.Content {
			o.contentTypes = append(o.contentTypes, ct)
		}
		slices.Sort(o.contentTypes)
		o.body = op.RequestBody.Value.Content["application/json"].Schema.Value
	}
	s.operations = append(s.operations, o)
	s.byRoute[route{method, path}] = o
	s.methods[path] = append(s.methods[path], method)
	if method == http.MethodGet {
		s.methods[path] = append(s.methods[path], http.MethodHead)
	}
	return nil
}

// Operations is the table of all operations, ordered by path and method.
func (s *Spec) Operations() []Operation {
	all := make([]Operation, len(s.operations))
	for i, o := range s.operations {
		all[i] = *o
	}
	return all
}

// Catalogue is the event catalogue that the specification was loaded with.
func (s *Spec) Catalogue() *catalogue.Catalogue { return s.catalogue }

// Document is the specification as it is served: callers must not change it.
func (s *Spec) Document() *openapi3.T { return s.doc }

// JSON is the specification as JSON: callers must not change it.
func (s *Spec) JSON() []byte { return s.json }

// ServeJSON answers GET /openapi.json.
func (s *Spec) ServeJSON(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", s.etag)
	if MatchETag(r.Header.Get("If-None-Match"), s.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.json) // a client that went away is no fault of ours
}

// text and flag read an extension.
func text(ext map[string]any, name string) string {
	v, _ := ext[name].(string)
	return v
}

func flag(ext map[string]any, name string) bool {
	v, _ := ext[name].(bool)
	return v
}
