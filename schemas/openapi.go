// Package schemas holds the contracts of the product as files (the HTTP API, the facts, the ClickHouse
// migrations, the event catalogue) and gives the one that is a single document, the API's specification, to
// whoever serves or checks it. It never interprets it: that is package api.
package schemas

import _ "embed"

// OpenAPI is openapi.yaml as it lies in the repository. Callers must not change it.
//
//go:embed openapi.yaml
var OpenAPI []byte
