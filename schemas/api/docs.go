package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"hookledger/schemas/api/apierr"
)

// The page at /docs: one file without scripts, fonts or anything else from elsewhere, made at start from the
// specification as it is served, so that it can't say anything else. Its policy allows nothing but the one style sheet in it.
//
//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// docs is the page, ready to be served.
type docs struct {
	page         []byte
	etag, policy string
}

// ServeDocs answers GET /docs.
func (s *Spec) ServeDocs(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("ETag", s.docs.etag)
	if MatchETag(r.Header.Get("If-None-Match"), s.docs.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(s.docs.page)))
	h.Set("Content-Security-Policy", s.docs.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(s.docs.page) // a reader who went away is no fault of ours
}

func (s *Spec) renderDocs() (docs, error) {
	t, err := template.New("docs").Funcs(template.FuncMap{"text": prose, "line": inline}).Parse(docsTemplate)
	if err != nil {
		return docs{}, fmt.Errorf("read the template of /docs: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, s.docsPage()); err != nil {
		return docs{}, fmt.Errorf("write /docs: %w", err)
	}
	style := sha256.Sum256([]byte(docsStyle))
	sum := sha256.Sum256(b.Bytes())
	return docs{
		page: b.Bytes(), etag: `"` + hex.EncodeToString(sum[:8]) + `"`,
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
			"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}, nil
}

// What the template shows.
type (
	docsPage struct {
		Title, Version, About string
		Style                 template.CSS
		Groups                []docsGroup
		Receiver              *docsOperation // what we ask of others
		Schemas               []docsSchema
		Errors                []docsError
	}
	docsGroup struct {
		Name, About string
		Operations  []docsOperation
	}
	docsOperation struct {
		ID, Method, Path, Summary, About, Access string
		Parameters                               []docsField
		Body                                     []docsBody
		Responses                                []docsResponse
		Example                                  string
	}
	docsBody struct {
		Media string
		Type  docsType
		Limit string
	}
	docsResponse struct {
		Status, About string
		Body          []docsBody
	}
	docsSchema struct {
		Name, About string
		Type        docsType
		Fields      []docsField
	}
	// docsField is a parameter, or a member of an object.
	docsField struct {
		Name, In, About string
		Required        bool
		Type            docsType
	}
	// docsType is a type in words, with the schema that it names.
	docsType struct {
		Before, Link, After string
		Rules               []string
	}
	docsError struct {
		Code   string
		Status int
	}
)

func (s *Spec) docsPage() docsPage {
	p := docsPage{Title: s.doc.Info.Title, Version: s.doc.Info.Version, About: s.doc.Info.Description, Style: template.CSS(docsStyle)} //nolint:gosec // our own file
	for _, tag := range s.doc.Tags {
		g := docsGroup{Name: tag.Name, About: tag.Description}
		for _, o := range s.operations {
			if op := s.doc.Paths.Value(o.Path).GetOperation(o.Method); slices.Contains(op.Tags, tag.Name) {
				g.Operations = append(g.Operations, s.docsOperation(o, op))
			}
		}
		p.Groups = append(p.Groups, g)
	}
	for _, ref := range s.doc.Components.Callbacks {
		for _, item := range ref.Value.Map() {
			p.Receiver = &docsOperation{
				ID: item.Post.OperationID, Method: http.MethodPost, Path: "the webhook's URL", Summary: item.Post.Summary, About: item.Post.Description,
				Parameters: docsParameters(item.Post.Parameters), Body: mediaBodies(item.Post.RequestBody.Value.Content), Responses: docsResponses(item.Post.Responses),
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.doc.Components.Schemas)) {
		sc := s.doc.Components.Schemas[name].Value
		d := docsSchema{Name: name, About: sc.Description, Type: typeOf(&openapi3.SchemaRef{Value: sc})}
		for _, field := range slices.Sorted(maps.Keys(sc.Properties)) {
			ref := sc.Properties[field]
			d.Fields = append(d.Fields, docsField{
				Name: field, About: aboutOf(ref), Type: typeOf(ref), Required: slices.Contains(sc.Required, field),
			})
		}
		p.Schemas = append(p.Schemas, d)
	}
	for _, c := range apierr.Codes() {
		p.Errors = append(p.Errors, docsError{string(c.Code), c.Status})
	}
	return p
}

func (s *Spec) docsOperation(o *Operation, op *openapi3.Operation) docsOperation {
	d := docsOperation{ID: o.ID, Method: o.Method, Path: o.Path, Summary: op.Summary, About: op.Description, Example: s.example(o)}
	switch o.Credential {
	case CredentialNone:
		d.Access = "Public: no credential."
	case CredentialJWT:
		d.Access = "A JWT with scope `" + string(o.Scope) + "`; an API key is not enough."
	case CredentialAny:
		d.Access = "An API key or a JWT with scope `" + string(o.Scope) + "`."
	}
	d.Parameters = docsParameters(o.params)
	if op.RequestBody != nil {
		for _, b := range mediaBodies(op.RequestBody.Value.Content) {
			b.Limit = size(o.BodyLimit)
			d.Body = append(d.Body, b)
		}
	}
	d.Responses = docsResponses(op.Responses)
	return d
}

func docsParameters(params openapi3.Parameters) []docsField {
	var all []docsField
	for _, ref := range params {
		p := ref.Value
		all = append(all, docsField{Name: p.Name, In: p.In, About: p.Description, Required: p.Required, Type: typeOf(p.Schema)})
	}
	return all
}

func docsResponses(responses *openapi3.Responses) []docsResponse {
	var all []docsResponse
	for _, status := range slices.Sorted(maps.Keys(responses.Map())) {
		ref := responses.Value(status)
		all = append(all, docsResponse{Status: status, About: *ref.Value.Description, Body: mediaBodies(ref.Value.Content)})
	}
	return all
}

func mediaBodies(content openapi3.Content) []docsBody {
	var all []docsBody
	for _, media := range slices.Sorted(maps.Keys(content)) {
		all = append(all, docsBody{Media: media, Type: typeOf(content[media].Schema)})
	}
	return all
}

func aboutOf(ref *openapi3.SchemaRef) string {
	if ref.Ref != "" { // what it is stands where it is
		return ""
	}
	return ref.Value.Description
}

// typeOf says a schema in words.
func typeOf(ref *openapi3.SchemaRef) docsType {
	if name, ok := strings.CutPrefix(ref.Ref, "#/components/schemas/"); ok {
		return docsType{Link: name}
	}
	sc := ref.Value
	var t docsType
	switch {
	case len(sc.OneOf) > 0:
		parts := make([]string, len(sc.OneOf))
		for i, one := range sc.OneOf {
			o := typeOf(one)
			parts[i] = strings.TrimSpace(o.Before + " " + o.Link + o.After)
		}
		t.Before = strings.Join(parts, ", or ")
	case sc.Type.Permits(openapi3.TypeArray) && sc.Items != nil:
		inner := typeOf(sc.Items)
		t = docsType{Before: strings.TrimSpace("array of " + inner.Before), Link: inner.Link, After: inner.After}
	case sc.Type != nil:
		t.Before = sc.Type.Slice()[0]
	default:
		t.Before = "anything"
	}
	if sc.Nullable {
		t.After += ", or null"
	}
	t.Rules = rules(sc)
	return t
}

// rules are the bounds of a schema, in the words of the errors.
func rules(sc *openapi3.Schema) []string {
	var r []string
	if len(sc.Enum) > 0 {
		var values []string
		for _, v := range sc.Enum {
			values = append(values, fmt.Sprintf("`%v`", v))
		}
		r = append(r, "one of "+strings.Join(values, ", "))
	}
	if sc.Format != "" {
		r = append(r, sc.Format)
	}
	if sc.MinLength > 0 || sc.MaxLength != nil {
		r = append(r, between(least(sc.MinLength), sc.MaxLength)+" characters")
	}
	if sc.MinItems > 0 || sc.MaxItems != nil {
		r = append(r, between(least(sc.MinItems), sc.MaxItems)+" items")
	}
	if sc.Min != nil {
		r = append(r, between(*sc.Min, sc.Max))
	}
	if form := text(sc.Extensions, "x-form"); form != "" {
		r = append(r, form)
	}
	if most, ok := sc.Extensions["x-max-bytes"].(float64); ok {
		r = append(r, "at most "+size(int64(most)))
	}
	if sc.Default != nil {
		r = append(r, fmt.Sprintf("default `%v`", sc.Default))
	}
	return r
}

func size(bytes int64) string {
	if bytes >= 1<<20 {
		return strconv.FormatInt(bytes>>20, 10) + " MiB"
	}
	return strconv.FormatInt(bytes>>10, 10) + " KiB"
}

// prose is the little of Markdown that the specification's texts use: paragraphs and code.
func prose(s string) template.HTML {
	var b strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(s), "\n\n") {
		if paragraph != "" {
			b.WriteString("<p>" + string(inline(paragraph)) + "</p>")
		}
	}
	return template.HTML(b.String()) //nolint:gosec // escaped in inline
}

func inline(s string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(s, "`") {
		if i%2 == 1 {
			b.WriteString("<code>" + template.HTMLEscapeString(part) + "</code>")
		} else {
			b.WriteString(template.HTMLEscapeString(part))
		}
	}
	return template.HTML(b.String()) //nolint:gosec // every part is escaped
}
