# Everything here works on a machine with Go, npm and make (and Python, for test-clients), with nothing set up by hand.
# What is built or fetched goes to bin/, .tools/ and deploy/embedded/node_modules/, none of them in git. `make help` lists
# the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Flags and arguments for what a target runs: make run ARGS='--listen 127.0.0.1:9000'.
ARGS ?=
# The race detector needs a C compiler; without one the tests run without it, and say so.
RACE ?= $(if $(shell command -v "$$(go env CC)" 2>/dev/null),-race)
# What a package's tests may take, and which packages are tested.
TEST_TIMEOUT ?= 30m
PKG ?= ./...
FUZZTIME ?= 30s
# How long Schemathesis tries: 600 for ten minutes.
SCHEMATHESIS_SECONDS ?= 60
ROUNDS ?= 20
DATA ?= ./data

# Tools are built from the modules that pin them, and again when those or the version of Go change.
GOVERSION := $(shell go env GOVERSION)
STAMP := .tools/$(GOVERSION).stamp
LINT := .tools/golangci-lint
VULN := .tools/govulncheck
# The environment of the Python client's tests: one for each state of its pins and each Python.
CLIENT_PYTHON := schemas/clients/python
PYTHON_STAMP = $(shell cat $(CLIENT_PYTHON)/requirements.txt | cksum | cut -d ' ' -f 1)
VENV = .tools/python-$(PYTHON_STAMP)$(subst /,_,$(PYTHON))
SCHEMATHESIS := .tools/schemathesis/bin/schemathesis
# npm writes this file last, so it is there when all the rest is.
ENGINE := deploy/embedded/node_modules/.package-lock.json

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/hookledger
	@mkdir -p bin
	CGO_ENABLED=0 go build -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/hookledger ./cmd/hookledger

.PHONY: engine
# A library that the environment names is used as it is.
engine: $(if $(HOOKLEDGER_ENGINE_LIB),,$(ENGINE)) ## fetch the embedded engine, if the lock file changed since

$(ENGINE): deploy/embedded/package.json deploy/embedded/package-lock.json
	cd deploy/embedded && npm ci --no-audit --no-fund
	@ls deploy/embedded/node_modules/@chdb/*/libchdb.* >/dev/null 2>&1 || { rm -f $@; \
	echo "npm has no engine library for this machine ($$(go env GOOS)/$$(go env GOARCH)) or could not fetch it: set HOOKLEDGER_ENGINE_LIB, or give serve a --clickhouse-dsn" >&2; exit 1; }
	@touch $@

.PHONY: run
run: build engine ## serve with everything embedded, data in ./data, API on 127.0.0.1:8080 (ARGS: more flags)
	@exec bin/hookledger serve --data-dir $(DATA) $(ARGS)

.PHONY: test
test: engine ## run all tests with the race detector (PKG: only these packages)
	@$(if $(RACE),,echo "no C compiler: the tests run without the race detector" >&2;) \
	go test $(RACE) -timeout $(TEST_TIMEOUT) $(PKG)

.PHONY: test-short
test-short: engine ## run the tests without the race detector and without the long ones
	@go test -short -timeout $(TEST_TIMEOUT) $(PKG)

.PHONY: test-clients
test-clients: build engine $(VENV) ## check and test the Python client against the program (PYTHON: which; ARGS: of pytest)
	@cd $(CLIENT_PYTHON) && python=../../../$(VENV)/bin/python && set -x && \
	$$python -m ruff check . && $$python -m ruff format --check . && $$python -m mypy && $$python -m pytest $(ARGS)

$(VENV): .ci/python
	@mkdir -p .tools
	@PYTHON='$(PYTHON)' .ci/python $@
	@touch $@

.PHONY: lint
lint: $(LINT) ## hold the code to .golangci.yml, and the facts to buf's rules
	$(LINT) run $(PKG)
	schemas/generate.sh lint

.PHONY: format
format: $(LINT) ## format the code as lint wants it
	$(LINT) fmt

.PHONY: generate
generate: ## make the generated code under schemas/ again
	schemas/generate.sh

.PHONY: generate-check
generate-check: ## fail if the generated code is not what its sources make
	@sums() { find schemas \( -name '*.pb.go' -o -name '*.gen.go' -o -name '*_gen.py' \) -exec cksum {} + | sort -k3; }; \
	before=$$(sums); schemas/generate.sh; after=$$(sums); \
	if [ "$$before" != "$$after" ]; then echo "generated code was not up to date (it is now): run make generate and commit:" >&2; git diff --stat -- schemas >&2; exit 1; fi

.PHONY: bench
bench: build engine ## load the program with itself and print what it can do (ARGS: flags of hookledger bench)
	@bin/hookledger bench $(ARGS)

.PHONY: bench-go
bench-go: engine ## run the Go benchmarks of PKG
	@go test -run '^$$' -bench . -benchmem -timeout 60m $(PKG)

.PHONY: crash
crash: engine ## kill and restart the program ROUNDS times under load, and look for what was lost or invented
	@go test ./cmd/hookledger -run TestCrash -crash.rounds=$(ROUNDS) -v -timeout 60m

.PHONY: power-cut
power-cut: engine ## as crash, and after each kill take what a power cut may take of the files
	@go test ./deploy/embedded/broker -run TestPowerCutUnderLoad -power.rounds=$(ROUNDS) -timeout 60m
	@go test ./cmd/hookledger -run TestPowerCut -power.rounds=$(ROUNDS) -v -timeout 60m

.PHONY: fuzz
fuzz: engine ## run each fuzz test of PKG for FUZZTIME
	@.ci/fuzz '$(FUZZTIME)' $(PKG)

.PHONY: schemathesis
schemathesis: build engine $(SCHEMATHESIS) ## try the served specification against the live server for SCHEMATHESIS_SECONDS
	@.ci/schemathesis/run $(SCHEMATHESIS_SECONDS)

.PHONY: vuln
vuln: $(VULN) ## look for known vulnerabilities in what is called (asks vuln.go.dev)
	$(VULN) ./...

.PHONY: clean
clean: ## remove what was built (not ./data, nor the fetched engine)
	rm -rf bin .tools

$(STAMP):
	@mkdir -p .tools && rm -f .tools/*.stamp && touch $@

$(LINT): .ci/tools/go.mod .ci/tools/go.sum $(STAMP)
	cd .ci/tools && go build -mod=readonly -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(VULN): .ci/tools/go.mod .ci/tools/go.sum $(STAMP)
	cd .ci/tools && go build -mod=readonly -o ../../$@ golang.org/x/vuln/cmd/govulncheck
	@touch $@

$(SCHEMATHESIS): .ci/schemathesis/requirements.txt
	@python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "Schemathesis needs python3 of version 3.11 or later with venv (Debian: apt-get install python3 python3-venv); here is: $$(python3 --version 2>&1)" >&2; exit 1; }
	rm -rf .tools/schemathesis && python3 -m venv .tools/schemathesis
	.tools/schemathesis/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
