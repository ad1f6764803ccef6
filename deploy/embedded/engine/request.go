package engine

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What one request may bring: a statement, or an insert's data.
const (
	maxBody        = 256 << 20
	maxAuditorBody = 1 << 20
)

// request is one HTTP request, read: ClickHouse's parameters apart from settings.
type request struct {
	user     string
	sql      string // the statement
	data     []byte // an insert's data, when it came apart from the statement
	database string
	format   string // of the answer, when the statement names none
	queryID  string
	revision uint64 // of the client's Native decoder; only for the hello
	whole    bool   // wait_end_of_query: nothing is sent before all is known
	readonly bool
	params   map[string]string
	settings []setting
}

type setting struct{ name, value string }

var settingName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// parseRequest reads ClickHouse's HTTP parameters. What this interface doesn't
// do is refused by name, never ignored.
func parseRequest(r *http.Request, user string) (*request, error) {
	req := &request{user: user, format: "TabSeparated", readonly: r.Method != http.MethodPost, params: map[string]string{}}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(codeBadArguments, "BAD_ARGUMENTS", "The URL's query can't be read: "+err.Error())
	}
	var fromURL string
	for name, values := range query {
		value := values[len(values)-1]
		switch {
		case name == "query":
			fromURL = value
		case name == "database":
			req.database = value
		case name == "default_format":
			req.format = value
		case name == "query_id":
			req.queryID = value
		case name == "client_protocol_version":
			req.revision, _ = strconv.ParseUint(value, 10, 32)
		case name == "wait_end_of_query":
			req.whole = value != "0"
		case name == "quota_key" || name == "buffer_size":
		case name == "compress" || name == "decompress":
			if value != "0" {
				return nil, refuse(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine doesn't compress on loopback: open the client without compression")
			}
		case strings.HasPrefix(name, "param_"):
			req.params[strings.TrimPrefix(name, "param_")] = value
		case name == "session_id" || name == "user" || name == "password" || name == "role" || strings.HasSuffix(name, "_structure"):
			return nil, refuse(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine has no URL parameter '"+name+"'")
		case !settingName.MatchString(name):
			return nil, refuse(codeUnknownSetting, "UNKNOWN_SETTING", "Unknown setting '"+name+"'")
		default:
			req.settings = append(req.settings, setting{name, value})
		}
	}
	// The order of a map is random, and a session's SET is part of what is compared in tests.
	slices.SortFunc(req.settings, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	if db := r.Header.Get("X-ClickHouse-Database"); db != "" && req.database == "" {
		req.database = db
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, refuse(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine doesn't read Content-Encoding "+enc+": open the client without compression")
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return nil, refuse(codeNotImplemented, "NOT_IMPLEMENTED", "The embedded engine doesn't take external tables")
	}
	limit := maxBody
	if user == UserAuditor {
		limit = maxAuditorBody
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if len(body) > limit {
		return nil, refuse(codeQueryTooLarge, "TOO_MANY_BYTES", "The request is over "+strconv.Itoa(limit)+" bytes: insert in smaller batches")
	}
	if fromURL == "" {
		req.sql = string(body)
	} else {
		req.sql, req.data = fromURL, body
	}
	if strings.TrimSpace(req.sql) == "" {
		return nil, refuse(codeSyntax, "SYNTAX_ERROR", "Syntax error: Empty query")
	}
	return req, nil
}
