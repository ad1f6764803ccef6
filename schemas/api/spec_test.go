package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"hookledger/schemas"
	"hookledger/schemas/api/apierr"
	"hookledger/schemas/catalogue"
)

func load(t testing.TB, extra ...string) *Spec {
	t.Helper()
	c, err := catalogue.Load("", extra)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// contract is every operation with who may call it: method, path, scope, credential.
const contract = `
GET    /api/v2/analytics/attempts                             read  any
GET    /api/v2/analytics/deliveries                           read  any
GET    /api/v2/api-keys                                       read  jwt
POST   /api/v2/api-keys                                       write jwt
DELETE /api/v2/api-keys/{key_id}                              admin jwt
GET    /api/v2/api-keys/{key_id}                              read  jwt
POST   /api/v2/api-keys/{key_id}/revoke                       write jwt
POST   /api/v2/api-keys/{key_id}/rotate                       write jwt
GET    /api/v2/audit/changes                                  admin any
POST   /api/v2/events                                         write any
GET    /api/v2/events/{event_id}                              read  any
GET    /api/v2/webhooks                                       read  any
POST   /api/v2/webhooks                                       write any
GET    /api/v2/webhooks/deliveries/{delivery_id}              read  any
GET    /api/v2/webhooks/deliveries/{delivery_id}/attempts     read  any
POST   /api/v2/webhooks/deliveries/{delivery_id}/retry        write any
GET    /api/v2/webhooks/events                                none  none
DELETE /api/v2/webhooks/{webhook_id}                          admin any
GET    /api/v2/webhooks/{webhook_id}                          read  any
PATCH  /api/v2/webhooks/{webhook_id}                          write any
GET    /api/v2/webhooks/{webhook_id}/deliveries               read  any
POST   /api/v2/webhooks/{webhook_id}/rotate-secret            write any
POST   /api/v2/webhooks/{webhook_id}/test                     write any
GET    /docs                                                  none  none
GET    /livez                                                 none  none
GET    /metrics                                               none  none
GET    /openapi.json                                          none  none
GET    /readyz                                                none  none
`

func TestEveryOperationOfTheContract(t *testing.T) {
	var got []string
	methods := reflect.TypeFor[ServerInterface]()
	for _, o := range load(t).Operations() {
		got = append(got, strings.Join([]string{o.Method, o.Path, string(o.Scope), string(o.Credential)}, " "))
		if _, ok := methods.MethodByName(o.ID); ok == o.Operator {
			t.Errorf("%s: in the interface %v, for operators %v", o.ID, ok, o.Operator)
		}
	}
	var want []string
	for line := range strings.Lines(strings.TrimSpace(contract)) {
		want = append(want, strings.Join(strings.Fields(line), " "))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestEveryOperationCanSayWhatTheHandlerSays: what the assembled handler may answer by itself must be in the
// specification of every operation that it can happen to.
func TestEveryOperationCanSayWhatTheHandlerSays(t *testing.T) {
	s := load(t)
	for _, o := range s.operations {
		if o.Operator {
			continue
		}
		op := s.doc.Paths.Value(o.Path).GetOperation(o.Method)
		need := []int{400, 422, 429, 500, 503}
		if o.Scope != ScopeNone {
			need = append(need, 401, 403)
		}
		if o.BodyLimit > 0 {
			need = append(need, 408, 413, 415)
		}
		if strings.Contains(o.Path, "{") {
			need = append(need, 404)
		}
		for _, status := range need {
			if op.Responses.Status(status) == nil {
				t.Errorf("%s cannot answer %d", o.ID, status)
			}
		}
		hasKey := slices.ContainsFunc(o.params, func(p *openapi3.ParameterRef) bool { return p.Value.Name == "Idempotency-Key" })
		if want := o.Method == http.MethodPost || o.Method == http.MethodPatch; hasKey != want {
			t.Errorf("%s takes Idempotency-Key: %v, want %v", o.ID, hasKey, want)
		}
	}
}

func TestErrorCodesAreOneList(t *testing.T) {
	s := load(t)
	var spec, code []string
	for _, v := range s.doc.Components.Schemas["ErrorCode"].Value.Enum {
		spec = append(spec, v.(string))
	}
	for _, c := range apierr.Codes() {
		code = append(code, string(c.Code))
	}
	if d := cmp.Diff(spec, code); d != "" {
		t.Errorf("specification and package apierr differ: %s", d)
	}
}

func TestEveryErrorHasTheOneShapeAndItsStatus(t *testing.T) {
	s := load(t)
	status := map[apierr.Code]int{}
	for _, c := range apierr.Codes() {
		status[c.Code] = c.Status
	}
	for _, e := range []*apierr.Error{
		apierr.Malformed("x"), apierr.Unauthenticated(), apierr.BadCredential(nil), apierr.Forbidden("write", "read"), apierr.NeedJWT(),
		apierr.NoPath("/x"), apierr.NoWebhook("wh_1"), apierr.NoDelivery("del_1"), apierr.NoEvent("e"), apierr.NoAPIKey("key_1"),
		apierr.BadMethod("PUT", []string{"GET"}), apierr.LostRace("wh_1"), apierr.TooManyWebhooks(3), apierr.KeyReused(), apierr.KeyInProgress(),
		apierr.EventIDUsed("e"), apierr.AlreadyDelivered("del_1"), apierr.WebhookDeleted("del_1"), apierr.RetryRefused("del_1"), apierr.Expired("del_1"),
		apierr.KeyInactive("key_1"), apierr.BadContentCoding("gzip"), apierr.TooSlow(nil), apierr.NoPathBut("/x/", "/x"),
		apierr.Unreadable(400, "x"), apierr.Unreadable(417, ""), apierr.Unreadable(431, ""), apierr.Unreadable(505, "x"), apierr.StaleVersion(2), apierr.TooLarge(1), apierr.FieldsTooLarge(1, []apierr.Field{{In: "body", Field: "/data", Message: "x"}}),
		apierr.BadContentType("text/xml", []string{"application/json"}), apierr.Invalid(apierr.Field{In: "query", Field: "x", Message: "y"}),
		apierr.Throttled("key", 10, time.Second, 0), apierr.Throttled("in_flight", 10, 0, 0), apierr.Internal(nil), apierr.NoLog(1500*time.Millisecond, nil), apierr.NoHistory(0, nil), apierr.NotReady(0, "starting"),
	} {
		if e.Status != status[e.Code] {
			t.Errorf("%s has status %d, want %d", e.Code, e.Status, status[e.Code])
		}
		delete(status, "")
		b, err := e.Body("req_1")
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		if err := s.doc.Components.Schemas["Error"].Value.VisitJSON(v); err != nil {
			t.Errorf("%s: %s: %v", e.Code, b, err)
		}
		if after := e.RetryAfterSeconds(); (e.Status == 429 || e.Status == 503 || e.Code == apierr.IdempotencyInProgress) != (after > 0) {
			t.Errorf("%s: retry after %d", e.Code, after)
		}
	}
}

func TestScopeLadder(t *testing.T) {
	rising := []Scope{ScopeNone, ScopeSearch, ScopeRead, ScopeWrite, ScopeAdmin}
	for i, have := range rising {
		for j, need := range rising {
			if have.Allows(need) != (i >= j) {
				t.Errorf("%s allows %s: %v", have, need, have.Allows(need))
			}
		}
	}
	if Scope("root").Allows(ScopeNone) || ScopeAdmin.Allows("root") {
		t.Error("an unknown scope is good for something")
	}
}

func TestServedDocument(t *testing.T) {
	s := load(t, "order.paid")
	w := httptest.NewRecorder()
	s.ServeJSON(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if !json.Valid(w.Body.Bytes()) || !bytes.Contains(w.Body.Bytes(), []byte(`"order.paid"`)) {
		t.Error("the document lacks the operator's event name")
	}
	r := httptest.NewRequest(http.MethodGet, "/openapi.json", nil)
	r.Header.Set("If-None-Match", w.Header().Get("ETag"))
	again := httptest.NewRecorder()
	s.ServeJSON(again, r)
	if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("unchanged is answered %d with %d bytes", again.Code, again.Body.Len())
	}
	if other := load(t); other.etag == s.etag {
		t.Error("another catalogue has the same ETag")
	}
}

func TestEntityTags(t *testing.T) {
	tag := VersionTag(3, "figures")
	if !strings.HasPrefix(tag, `W/"3-`) || tag == VersionTag(3, "others") || tag == VersionTag(4, "figures") || tag != VersionTag(3, "figures") {
		t.Errorf("the tag is %s", tag)
	}
	bare := strings.TrimPrefix(tag, "W/")
	for header, want := range map[string]struct{ version, all bool }{
		tag: {true, true}, bare: {true, true}, `"1", ` + tag: {true, true}, `"3"`: {true, false}, `W/"3-0"`: {true, false}, `3`: {true, false},
		`"1", "3"`: {true, false}, `1, 3`: {true, false}, `,, "3"`: {true, false}, `*`: {true, true}, ` * `: {true, true},
		`"1","2"`: {}, ``: {}, `"33"`: {}, `"33-3"`: {}, `"3`: {}, `W/`: {}, `""`: {}, `"-"`: {}, `"*"`: {},
	} {
		if got := MatchVersion(header, 3); got != want.version {
			t.Errorf("MatchVersion(%q) = %v", header, got)
		}
		if got := MatchETag(header, tag); got != want.all {
			t.Errorf("MatchETag(%q) = %v", header, got)
		}
	}
	if a, b := ContentTag([]byte("a")), ContentTag([]byte("b")); a == b || !strings.HasPrefix(a, `"`) {
		t.Errorf("tags of contents are %s and %s", a, b)
	}
}

// TestGeneratedIsUpToDate runs where the generators were built (generate.sh tools).
func TestGeneratedIsUpToDate(t *testing.T) {
	tool, err := exec.LookPath("../../.tools/oapi-codegen")
	if err != nil {
		t.Skip("schemas/generate.sh tools was not run")
	}
	cmd := exec.Command(tool, "--config", "oapi-codegen.yaml", "-o", t.TempDir()+"/server.gen.go", "../openapi.yaml")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("diff", cmd.Args[4], "server.gen.go").CombinedOutput(); err != nil {
		t.Errorf("server.gen.go is stale, run schemas/generate.sh: %s", out)
	}
}

// TestRequestBodiesAreClosed: the decoder of bodies relies on it.
func TestRequestBodiesAreClosed(t *testing.T) {
	s := load(t)
	var walk func(at string, sc *openapi3.Schema)
	walk = func(at string, sc *openapi3.Schema) {
		for i, one := range sc.OneOf {
			walk(at+"|"+string(rune('0'+i)), one.Value)
		}
		switch {
		case len(sc.OneOf) > 0 || flag(sc.Extensions, "x-verbatim"):
		case sc.Type == nil || len(sc.Type.Slice()) != 1:
			t.Errorf("%s has no single type", at)
		case sc.Type.Is(openapi3.TypeObject):
			if has := sc.AdditionalProperties.Has; has == nil || *has {
				t.Errorf("%s is not closed", at)
			}
			for name, p := range sc.Properties {
				walk(at+"/"+name, p.Value)
			}
		case sc.Type.Is(openapi3.TypeArray):
			if sc.Items == nil || sc.MaxItems == nil {
				t.Errorf("%s has no items or no bound", at)
				return
			}
			walk(at+"/*", sc.Items.Value)
		}
	}
	for _, o := range s.operations {
		if o.body != nil {
			walk(o.ID, o.body)
		}
	}
}

// What is served names what a receiver gets, and nothing that only our generators read.
func TestServedForOthers(t *testing.T) {
	var served struct {
		Paths map[string]struct {
			Post struct {
				Callbacks map[string]json.RawMessage `json:"callbacks"`
			} `json:"post"`
		} `json:"paths"`
	}
	s := load(t, "order.paid")
	if err := json.Unmarshal(s.JSON(), &served); err != nil {
		t.Fatal(err)
	}
	if got := string(served.Paths["/api/v2/webhooks"].Post.Callbacks["delivery"]); got != `{"$ref":"#/components/callbacks/Delivery"}` {
		t.Errorf("the callback of CreateWebhook is %s", got)
	}
	for _, name := range []string{"x-go-type", "x-go-type-skip-optional-pointer", "x-go-type-import"} {
		if bytes.Contains(s.JSON(), []byte(`"`+name+`"`)) {
			t.Errorf("%s is served", name)
		}
		if !bytes.Contains(schemas.OpenAPI, []byte(name)) {
			t.Errorf("%s is nowhere: this test shows nothing", name)
		}
	}
	doc, err := openapi3.NewLoader().LoadFromData(s.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
}
