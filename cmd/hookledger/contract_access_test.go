package main

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hookledger/ledger/secrets"
)

// route is a line of the contract's tables: what it takes to call it.
type route struct {
	method, path string
	scope        string
	jwtOnly      bool
	body         any
	allowed      int    // what one who may is answered, for what is not there
	missing      string // the code of another account's resource; "" where there is none
}

// routes are the contract's tables, with POST /events and the API's own reads
// beside them. W, D, E and K stand for the ids of a webhook, a delivery, an
// event and an API key.
var routes = []route{
	{"POST", "/webhooks", "write", false, object{}, 422, ""},
	{"GET", "/webhooks", "read", false, nil, 200, ""},
	{"GET", "/webhooks/W", "read", false, nil, 404, "resource_webhook_not_found"},
	{"PATCH", "/webhooks/W", "write", false, object{"name": "theirs"}, 404, "resource_webhook_not_found"},
	{"DELETE", "/webhooks/W", "admin", false, nil, 404, "resource_webhook_not_found"},
	{"POST", "/webhooks/W/rotate-secret", "write", false, object{}, 404, "resource_webhook_not_found"},
	{"POST", "/webhooks/W/test", "write", false, object{}, 404, "resource_webhook_not_found"},
	{"GET", "/webhooks/W/deliveries", "read", false, nil, 404, "resource_webhook_not_found"},
	{"GET", "/webhooks/deliveries/D", "read", false, nil, 404, "resource_delivery_not_found"},
	{"GET", "/webhooks/deliveries/D/attempts", "read", false, nil, 404, "resource_delivery_not_found"},
	{"POST", "/webhooks/deliveries/D/retry", "write", false, object{}, 404, "resource_delivery_not_found"},
	{"POST", "/events", "write", false, object{}, 422, ""},
	{"GET", "/events/E", "read", false, nil, 404, "resource_event_not_found"},
	{"POST", "/api-keys", "write", true, object{}, 422, ""},
	{"GET", "/api-keys", "read", true, nil, 200, ""},
	{"GET", "/api-keys/K", "read", true, nil, 404, "resource_api_key_not_found"},
	{"DELETE", "/api-keys/K", "admin", true, nil, 404, "resource_api_key_not_found"},
	{"POST", "/api-keys/K/revoke", "write", true, object{}, 404, "resource_api_key_not_found"},
	{"POST", "/api-keys/K/rotate", "write", true, object{}, 404, "resource_api_key_not_found"},
}

// at puts ids into the route's path.
func (r route) at(webhook, delivery, event, key string) string {
	return strings.NewReplacer("/W", "/"+webhook, "/D", "/"+delivery, "/E", "/"+event, "/K", "/"+key).Replace(r.path)
}

// nowhere is the route for ids that nobody has.
func (r route) nowhere() string { return r.at("wh_x", "del_x", "evt_x", "key_x") }

// The three forms of a credential on every endpoint, and the ladder of scopes:
// admin > write > read > search.
func TestContractScopes(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	jwt := s.account(t)
	ladder := []string{"search", "read", "write", "admin"}
	for have, scope := range ladder {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			key := jwt.post("/api-keys", object{"name": scope, "scopes": []string{scope}}).is(201).str("key")
			forms := map[string]*caller{
				"X-API-Key": s.as(t, "").with("X-API-Key: " + key), "Bearer key": s.as(t, key), "Bearer JWT": s.account(t, scope),
			}
			for _, r := range routes {
				for form, c := range forms {
					a := c.do(r.method, r.nowhere(), r.body)
					switch may := have >= slices.Index(ladder, r.scope); {
					case r.jwtOnly && form != "Bearer JWT":
						a.fails(403, "permission_jwt_required")
					case !may:
						a.fails(403, "permission_scope_insufficient")
					default:
						a.is(r.allowed)
					}
				}
			}
			for _, c := range forms {
				if got := c.get("/webhooks/events").is(200); len(got.list()) < 17 {
					t.Errorf("the event names are %s", got.body)
				}
			}
		})
	}
}

// What is no credential is 401 on every endpoint but the public one.
func TestContractBadCredentials(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	owner := s.account(t)
	revoked := owner.post("/api-keys", object{"name": "revoked", "scopes": []string{"admin"}}).is(201)
	owner.post("/api-keys/"+revoked.str("key_id")+"/revoke", nil).is(200)
	gone := owner.post("/api-keys", object{"name": "deleted", "scopes": []string{"admin"}}).is(201)
	owner.delete("/api-keys/" + gone.str("key_id")).is(200)

	foreign, err := secrets.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := secrets.Claims{Subject: "me", Account: "default", Scopes: []string{"admin"}}
	forged, err := foreign.SignToken(claims, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := secrets.Load(s.dir + "/keys/secrets.json")
	if err != nil {
		t.Fatal(err)
	}
	expired, err := ours.SignToken(claims, time.Now().Add(-2*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{
		"iss": "hookledger", "aud": "hookledger-api", "sub": "me", "account": "default", "scope": "admin",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	nobody := s.as(t, "")
	bad := map[string]*caller{
		"an unknown key": s.as(t, "sk_"+strings.Repeat("a", 52)), "nonsense": s.as(t, "nonsense"), "no key": s.as(t, "sk_"),
		"a revoked key": s.as(t, revoked.str("key")), "a deleted key": s.as(t, gone.str("key")),
		"a revoked key in X-API-Key": nobody.with("X-API-Key: " + revoked.str("key")),
		"a token of another issuer":  s.as(t, forged.Reveal()), "an expired token": s.as(t, expired.Reveal()), "an unsigned token": s.as(t, unsigned),
		"another scheme": nobody.with("Authorization: Basic YTpi"), "a scheme alone": nobody.with("Authorization: Bearer"),
	}
	for name, c := range bad {
		if a := c.get("/webhooks").fails(401, "authentication_invalid"); a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", name)
		}
	}
	for _, r := range routes {
		nobody.do(r.method, r.nowhere(), r.body).fails(401, "authentication_required")
		bad["a revoked key"].do(r.method, r.nowhere(), r.body).fails(401, "authentication_invalid")
	}
	nobody.get("/webhooks/events").is(200)
	bad["nonsense"].get("/webhooks/events").is(200)
}

// Everything belongs to an account. Another's is a 404, never a 403, whatever
// one's scope, and is in no list.
func TestContractAccounts(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	c := s.account(t)
	r := receiver(t, nil)
	h := c.webhook(r.URL())
	event := c.publish()
	delivery := c.delivery(event, "delivered")
	key := c.post("/api-keys", object{"name": "k"}).is(201).str("key_id")
	before := c.get(h.path()).is(200).str("version")

	other := s.as(t, s.token(t, t.Name()+"/other", "admin"))
	small := s.as(t, s.token(t, t.Name()+"/other", "search"))
	other.webhook(r.URL(), object{"events": []string{"media.created"}})
	for _, route := range routes {
		if route.missing == "" {
			continue
		}
		path := route.at(h.id, delivery, event, key)
		theirs := other.do(route.method, path, route.body).fails(404, route.missing)
		// What there is of another account is answered as what there is not.
		none := other.do(route.method, route.nowhere(), route.body)
		if none.status != theirs.status || none.str("error.code") != theirs.str("error.code") {
			t.Errorf("%s: another account's is %d %s, nobody's %d %s", path, theirs.status, theirs.body, none.status, none.body)
		}
		small.do(route.method, path, route.body).fails(403, "permission_scope_insufficient")
	}
	for list, want := range map[string]int{"/webhooks": 1, "/api-keys": 0} {
		if got := other.get(list).is(200); len(got.list()) != want || strings.Contains(string(got.body), h.id) {
			t.Errorf("another account's %s: %s", list, got.body)
		}
	}
	if got := c.get(h.path()).is(200); got.str("version") != before || got.str("name") != "exports" {
		t.Errorf("after another account's tries: %s, it was version %s", got.body, before)
	}
	c.get("/api-keys/" + key).is(200)
	if r.Count() != 1 {
		t.Errorf("%d requests, want 1", r.Count())
	}
	// An event of one account is not delivered to another's webhook.
	c.publish(object{"event": "media.created"})
	c.delivery(c.publish(), "delivered")
	if got := other.get("/webhooks").is(200); got.value("0.last_success_at") != nil {
		t.Errorf("another account's event was delivered: %s", got.body)
	}
}

// GET /webhooks/events is public: the 17 names in the contract's order, and what
// the operator added.
func TestContractEventNames(t *testing.T) {
	t.Parallel()
	s := common.get(t)
	want := strings.Fields(`media.created media.processing.started media.processing.completed
		media.processing.failed prompt_run.started prompt_run.completed prompt_run.failed
		prompt_run.cancelled prompt_run.partial_completed prompt_run.progress export.ready
		export.failed import_job.started import_job.completed import_job.failed
		import_job.partial_completed import_job.progress`)
	want = append(want, operatorEvent)
	var got []string
	for _, name := range s.as(t, "").get("/webhooks/events").is(200).list() {
		got = append(got, fmt.Sprint(name))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the event names are %v, want %v", got, want)
	}
	c := s.account(t)
	r := receiver(t, nil)
	h := c.webhook(r.URL(), object{"events": want})
	if events := c.get(h.path()).is(200).value("events").([]any); len(events) != len(want) {
		t.Errorf("a webhook of every name has %v", events)
	}
	var batch []object
	for _, name := range want {
		batch = append(batch, object{"event": name, "data": object{}})
	}
	c.post("/events", batch).is(202)
	seen := map[string]int{}
	for _, q := range received(t, r, len(want)) {
		seen[q.Header("X-Event-Type")]++
	}
	for _, name := range want {
		if seen[name] != 1 {
			t.Errorf("%s arrived %d times", name, seen[name])
		}
	}
}
