package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hookledger/schemas/api"
	"hookledger/schemas/catalogue"
)

// BenchmarkPublish is what a request of one event of 1 KB costs from the assembled handler to the answer, without
// network, credentials and log:
//
//	go test -run xxx -bench Publish ./schemas/api
func BenchmarkPublish(b *testing.B) {
	c, err := catalogue.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	spec, err := api.Load(c)
	if err != nil {
		b.Fatal(err)
	}
	h, err := spec.Handler(api.Options{
		Server: &server{},
		Authorize: func(_ http.Header, r *http.Request, _ api.Operation) (context.Context, error) {
			return r.Context(), nil
		},
		NewRequestID: func() string { return "req_1" },
		Mount: map[string]http.Handler{
			"/livez": http.NotFoundHandler(), "/readyz": http.NotFoundHandler(), "/metrics": http.NotFoundHandler(),
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	body := `{"id":"evt_0123456789","event":"export.ready","data":{"text":"` + strings.Repeat("a video of a cat, ", 50) + `"}}`
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/api/v2/events", strings.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted {
			b.Fatal(w.Code)
		}
	}
}
