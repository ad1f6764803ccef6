#!/bin/sh
# Regenerates everything under schemas/ that is generated, byte by byte: Go from the protobuf facts, and Go and Python from
# openapi.yaml. The generators are pinned: oapi-codegen and buf in tools/go.mod (a module of its own, so that
# their hundreds of dependencies stay out of the product's), protoc-gen-go by the product's own go.mod, so that the generator
# and the runtime of the facts are one version. They are built into .tools/ at the top of the checkout.
#
#   generate.sh            regenerate
#   generate.sh tools      build the generators only
#   generate.sh lint       buf lint, and buf breaking against BUF_AGAINST (a git ref, main by default)
set -eu
cd "$(dirname "$0")"
root=$(cd .. && pwd)
bin="$root/.tools"
mkdir -p "$bin"

# A tool is built again only when what pins it changed: linking buf takes long.
build() { # name, package, folder of the module that pins it
    pins=$(cat "$3/go.mod" "$3/go.sum" | cksum; go env GOVERSION)
    if [ -x "$bin/$1" ] && [ "$(cat "$bin/$1.pins" 2>/dev/null)" = "$pins" ]; then return; fi
    (cd "$3" && GOFLAGS=-mod=readonly go build -o "$bin/$1" "$2")
    echo "$pins" > "$bin/$1.pins"
}
tools() {
    build oapi-codegen github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen tools
    build buf github.com/bufbuild/buf/cmd/buf tools
    build protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go "$root"
}
PATH="$bin:$PATH"

case "${1:-all}" in
tools) tools ;;
lint)
    tools
    buf lint
    ref=${BUF_AGAINST:-main}
    if git -C "$root" cat-file -e "$ref:schemas/proto" 2>/dev/null; then
        buf breaking --against "$root/.git#ref=$(git -C "$root" rev-parse "$ref"),subdir=schemas"
    else
        echo "buf breaking: $ref has no schemas/proto yet, nothing to compare with" >&2
    fi
    ;;
all)
    tools
    buf generate
    (cd api && oapi-codegen --config oapi-codegen.yaml -o server.gen.go ../openapi.yaml)
    (cd clients/go && oapi-codegen --config oapi-codegen.yaml -o client.gen.go ../../openapi.yaml)
    (cd "$root" && go run ./schemas/clients/pygen schemas/clients/python/src/hookledger)
    ;;
*) echo "usage: generate.sh [tools|lint]" >&2; exit 2 ;;
esac
