package api

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func page(t *testing.T, s *Spec) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeDocs(w, httptest.NewRequest(http.MethodGet, "/docs", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("/docs answers %d", w.Code)
	}
	return w
}

var (
	tag       = regexp.MustCompile(`<([a-z][a-z0-9]*)((?:\s+[a-z-]+(?:="[^"<>]*")?)*)\s*>`)
	attribute = regexp.MustCompile(`([a-z-]+)(?:="([^"]*)")?`)
)

// attributes calls f for each element, and for each attribute of it. What stands in the page is escaped, so each < begins a tag.
func attributes(t *testing.T, text string, f func(element, name, value string)) {
	t.Helper()
	text = strings.Replace(text, docsStyle, "", 1)
	tags := tag.FindAllStringSubmatch(text, -1)
	if closing := strings.Count(text, "</"); len(tags)+closing+1 != strings.Count(text, "<") { // and the doctype
		t.Errorf("%d of %d < were understood", len(tags)+closing, strings.Count(text, "<"))
	}
	for _, m := range tags {
		f(m[1], "", "")
		for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
			f(m[1], a[1], a[2])
		}
	}
}

// TestDocsHaveEverything: each operation, parameter, schema, field and error code; each link goes somewhere.
func TestDocsHaveEverything(t *testing.T) {
	s := load(t, "order.paid")
	text := page(t, s).Body.String()
	for _, o := range s.operations {
		if !strings.Contains(text, `<article id="`+o.ID+`"`) || !strings.Contains(text, "<code>"+o.Path+"</code>") {
			t.Errorf("%s %s is not there", o.Method, o.Path)
		}
		for _, p := range o.params {
			if !strings.Contains(text, "<code>"+p.Value.Name+"</code>") {
				t.Errorf("parameter %s is not there", p.Value.Name)
			}
		}
	}
	for name, ref := range s.doc.Components.Schemas {
		if !strings.Contains(text, `id="schema-`+name+`"`) {
			t.Errorf("schema %s is not there", name)
		}
		for field := range ref.Value.Properties {
			if !strings.Contains(text, "<code>"+field+"</code>") {
				t.Errorf("field %s is not there", field)
			}
		}
	}
	for _, header := range []string{"X-Webhook-Signature", "X-Delivery-Attempt-ID", "webhook-signature"} {
		if !strings.Contains(text, "<code>"+header+"</code>") {
			t.Errorf("the receiver's header %s is not there", header)
		}
	}
	if !strings.Contains(text, "order.paid") {
		t.Error("the operator's event name is not there")
	}
	var ids, links []string
	attributes(t, text, func(_, name, value string) {
		switch {
		case name == "id":
			if slices.Contains(ids, value) {
				t.Errorf("id %s is there twice", value)
			}
			ids = append(ids, value)
		case name == "href" && strings.HasPrefix(value, "#"):
			links = append(links, value[1:])
		case name == "aria-labelledby":
			links = append(links, value)
		}
	})
	for _, l := range links {
		if !slices.Contains(ids, l) {
			t.Errorf("the link #%s goes nowhere", l)
		}
	}
	if strings.Contains(text, "ZgotmplZ") || strings.Contains(text, "`") {
		t.Error("something was not rendered")
	}
}

// TestDocsNeedNothingElse: no script, no other host, and a policy that would stop both.
func TestDocsNeedNothingElse(t *testing.T) {
	s := load(t)
	w := page(t, s)
	attributes(t, w.Body.String(), func(element, name, value string) {
		if slices.Contains([]string{"script", "iframe", "object", "embed", "form", "img"}, element) || strings.HasPrefix(name, "on") || name == "style" {
			t.Errorf("there is a %s with %s", element, name)
		}
		if (name == "href" || name == "src") && !strings.HasPrefix(value, "#") && value != "data:," && value != "/openapi.json" {
			t.Errorf("%s of %s is %s", name, element, value)
		}
	})
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}
	if regexp.MustCompile(`url\(|@import`).MatchString(docsStyle) {
		t.Error("the style sheet loads something")
	}
	if got := strings.Count(w.Body.String(), "<style>"+docsStyle+"</style>"); got != 1 {
		t.Errorf("the style sheet whose hash the policy has is there %d times", got)
	}
	r := httptest.NewRequest(http.MethodGet, "/docs", nil)
	r.Header.Set("If-None-Match", w.Header().Get("ETag"))
	again := httptest.NewRecorder()
	if s.ServeDocs(again, r); again.Code != http.StatusNotModified {
		t.Errorf("unchanged is answered %d", again.Code)
	}
}

// TestExamplesAreValid: what the page tells to send is what the server takes.
func TestExamplesAreValid(t *testing.T) {
	s := load(t)
	for _, o := range s.operations {
		if !o.bodyRequired {
			continue
		}
		body := s.exampleBody(o)
		if o.Events {
			if _, err := ReadEvents(mediaJSON, body, s.catalogue, EventLimits{}); err != nil {
				t.Errorf("%s: %s: %v", o.ID, body, err)
			}
			continue
		}
		if faults, err := s.judgeBody(o.body, body); err != nil || len(faults) > 0 {
			t.Errorf("%s: %s: %v %v", o.ID, body, err, faults)
		}
		if strings.Contains(string(body), "'") {
			t.Errorf("%s: the example breaks the shell's quotes: %s", o.ID, body)
		}
	}
}
