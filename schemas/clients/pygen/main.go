// Command pygen writes the Python client's models and resources from openapi.yaml:
//
//	go run ./schemas/clients/pygen schemas/clients/python/src/hookledger
//
// It promises that whatever the specification says of an operation (its path, parameters, body, answers, credential and
// documentation) stands in the client, for callers that block and for asyncio alike: the two are one
// template, so they can't drift. An operation that nobody named in names.go gets a name from its tag and operationId, so
// that a new one is never missing. It never writes anything that is not derived: transport, retries, errors and signatures
// are written by hand beside its output.
//
// Why not a generator off the shelf: openapi-python-client and openapi-generator bring their own transport, know neither
// idempotency keys nor cursors in headers, and would have to be wrapped method by method, which is what is generated
// here; datamodel-code-generator makes models alone, and loses the bytes of `payload` and `data`, which signatures are
// over. In Go, so that `make generate` needs no Python.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/getkin/kin-openapi/openapi3"

	"hookledger/schemas"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: pygen FOLDER")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "pygen:", err)
		os.Exit(1)
	}
}

// generate writes the three modules into a folder.
func generate(folder string) error {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(schemas.OpenAPI)
	if err == nil {
		err = doc.Validate(context.Background(), openapi3.DisableExamplesValidation())
	}
	if err != nil {
		return fmt.Errorf("read openapi.yaml: %w", err)
	}
	api, err := read(doc)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, template string
		data           any
	}{
		{"_models_gen.py", "models", api},
		{"_sync_gen.py", "resources", face{API: api}},
		{"_async_gen.py", "resources", face{API: api, Async: true}},
	} {
		var out bytes.Buffer
		if err := templates().ExecuteTemplate(&out, f.template, f.data); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
		if err := os.WriteFile(filepath.Join(folder, f.name), tidy(out.Bytes()), 0o644); err != nil { //nolint:gosec // source code, for everyone to read
			return err
		}
	}
	return nil
}
