package engine_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"hookledger/deploy/embedded/engine"
)

// request speaks ClickHouse's HTTP interface without the driver, as curl does.
func request(t testing.TB, method, dsn string, params url.Values, body string) (int, http.Header, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("bad DSN")
	}
	if params == nil {
		params = url.Values{}
	}
	if db := strings.Trim(u.Path, "/"); db != "" && !params.Has("database") {
		params.Set("database", db)
	}
	u.Path, u.RawQuery = "/", params.Encode()
	if p := params.Get("path"); p != "" {
		u.Path, u.RawQuery = p, ""
	}
	req, err := http.NewRequestWithContext(t.Context(), method, u.String(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

func TestPlainHTTP(t *testing.T) {
	dsn := db.Database(t)
	for _, c := range []struct {
		method string
		params url.Values
		body   string
		want   string
	}{
		{"GET", url.Values{"path": {"/ping"}}, "", "Ok.\n"},
		{"GET", url.Values{"query": {"SELECT 1"}}, "", "1\n"},
		{"POST", nil, "SELECT 1, 'a'", "1\ta\n"},
		{"POST", url.Values{"query": {"SELECT"}}, "2", "2\n"},
		{"POST", nil, "SELECT 1 AS x FORMAT JSONEachRow", "{\"x\":1}\n"},
		{"POST", url.Values{"default_format": {"CSVWithNames"}}, "SELECT number FROM numbers(70000) WHERE number % 35000 = 0 SETTINGS max_block_size = 1000", "\"number\"\n0\n35000\n"},
		{"POST", url.Values{"wait_end_of_query": {"1"}, "query_id": {"me"}, "param_x": {"a\\tb"}}, "SELECT {x:String}", "a\\tb\n"},
		{"POST", nil, "CREATE TABLE i (a UInt32, s String) ENGINE = MergeTree ORDER BY a", ""},
		{"POST", nil, "INSERT INTO i VALUES (1, 'FORMAT Native'), (2, 'b')", ""},
		{"POST", nil, "INSERT INTO i (a, s) FORMAT CSV\n3,c\n4,\"d\n\"\n", ""},
		{"POST", url.Values{"query": {"INSERT INTO i FORMAT TSV"}}, "5\te\n", ""},
		{"POST", url.Values{"query": {"INSERT INTO i VALUES"}}, "(6, 'f')", ""},
		{"POST", nil, "INSERT INTO i SELECT a + 10, s FROM i WHERE a = 1", ""},
		{"POST", url.Values{"query": {"INSERT INTO i FORMAT TSV"}}, "", ""},
		{"POST", nil, "SELECT a, s FROM i ORDER BY a FORMAT TSV", "1\tFORMAT Native\n2\tb\n3\tc\n4\td\\n\n5\te\n6\tf\n11\tFORMAT Native\n"},
	} {
		status, header, got := request(t, c.method, dsn, c.params, c.body)
		if status != 200 || got != c.want {
			t.Errorf("%s %v %q: %d %q, want %q", c.method, c.params, c.body, status, got, c.want)
		}
		if id := c.params.Get("query_id"); header.Get("X-ClickHouse-Query-Id") != id {
			t.Errorf("query id %q", header.Get("X-ClickHouse-Query-Id"))
		}
	}
	for _, c := range []struct {
		method string
		params url.Values
		body   string
		status int
		code   string
	}{
		{"GET", url.Values{"query": {"DROP TABLE i"}}, "", 403, "164"},
		{"GET", url.Values{"query": {"INSERT INTO i VALUES (1, '')"}}, "", 403, "164"},
		{"POST", url.Values{"compress": {"1"}}, "SELECT 1", 501, "48"},
		{"POST", url.Values{"session_id": {"1"}}, "SELECT 1", 501, "48"},
		{"POST", url.Values{"Bad Name": {"1"}}, "SELECT 1", 400, "115"},
		{"POST", url.Values{"path-": {"/"}}, "SELECT 1", 400, "115"},
		{"POST", url.Values{"config_file": {"/x"}}, "SELECT 1", 400, "115"},
		{"POST", nil, "", 400, "62"},
		{"POST", url.Values{"database": {"no`such"}}, "SELECT 1", 404, "81"},
	} {
		status, header, got := request(t, c.method, dsn, c.params, c.body)
		if status != c.status || header.Get("X-ClickHouse-Exception-Code") != c.code {
			t.Errorf("%s %v %q: %d, code %s, %q", c.method, c.params, c.body, status, header.Get("X-ClickHouse-Exception-Code"), got)
		}
	}
}

func TestAuthentication(t *testing.T) {
	dsn := db.Engine(t).DSN(engine.UserService)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("bad DSN")
	}
	password, _ := u.User.Password()
	for _, user := range []*url.Userinfo{nil, url.User("service"), url.UserPassword("service", "wrong"), url.UserPassword("auditor", password), url.UserPassword("default", ""), url.UserPassword("", password)} {
		u.User = user
		status, header, _ := request(t, "POST", u.String(), nil, "SELECT 1")
		if status != 403 || header.Get("X-ClickHouse-Exception-Code") != "516" {
			t.Errorf("user %v: %d", user.String() != "", status)
		}
	}
	u.User = nil
	req, err := http.NewRequestWithContext(t.Context(), "POST", fmt.Sprintf("http://%s/", u.Host), strings.NewReader("SELECT 1"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-ClickHouse-User", "service")
	req.Header.Set("X-ClickHouse-Key", password)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("headers: %d", res.StatusCode)
	}
}
