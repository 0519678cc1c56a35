# Everything is built from Go modules: with Go, make, git and a C compiler (for
# the race detector) nothing else is needed.

BIN := $(CURDIR)/bin
GO  ?= go

# Everywhere the same, or Kubernetes would be compiled for its tests again.
export GOFLAGS := $(filter-out -trimpath,$(shell $(GO) env GOFLAGS)) -trimpath

CONTROLLER_TOOLS := v0.23.0
HELM             := v4.3.1
NATS_SERVER      := v2.15.2

# Programs; those that run in pods are images: bin/NAME is xinhari.local/NAME:dev.
PROGRAMS := operator xinhari hello orders inventory demo endpoints bench-bare bench-own
operator_pkg   := ./cmd/operator
xinhari_pkg    := ./cmd/xinhari
hello_pkg      := ./examples/hello
orders_pkg     := ./examples/shop/orders
inventory_pkg  := ./examples/shop/inventory
demo_pkg       := ./examples/shop/demo
endpoints_pkg  := ./test/bench/endpoints
bench-bare_pkg := ./test/bench/bare
bench-own_pkg  := ./test/bench/own

.DEFAULT_GOAL := help

##@ Try it

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build devcluster helm ## A cluster, the operator and the shop under load, and a table of what became of its calls
	$(BIN)/devcluster run --images $(BIN) -- $(BIN)/demo

.PHONY: dev
dev: build devcluster helm ## A shell in a cluster with the operator installed
	$(BIN)/devcluster run --images $(BIN) -- sh -c 'helm install xinhari charts/xinhari -n xinhari-system --create-namespace --wait && echo "The operator is installed. Try: kubectl create namespace shop; kubectl apply -n shop -f examples/shop/deploy; kubectl get xinhari,pods -n shop" && exec $${SHELL:-sh}'

##@ Build

.PHONY: build
build: $(PROGRAMS:%=$(BIN)/%) ## Build the programs into bin/

# The Go build cache knows what is up to date.
.PHONY: $(PROGRAMS:%=$(BIN)/%)
$(PROGRAMS:%=$(BIN)/%): $(BIN)/%:
	@$(GO) build -o $@ $($*_pkg)

.PHONY: devcluster
devcluster: ## Build the devcluster (Kubernetes in one binary; 7 minutes on 2 cores the first time)
	@cd hack/devcluster && ../progress "devcluster: compiling Kubernetes" $(GO) build -v -ldflags '-s -w' -o $(BIN)/devcluster .

.PHONY: assets
assets: devcluster ## KUBEBUILDER_ASSETS for envtest in bin/assets; your own are used if KUBEBUILDER_ASSETS is set
	@$(BIN)/devcluster assets $(BIN)/assets >/dev/null

# Tools are built at their pinned versions, which the stamps' names hold.
CONTROLLER_GEN := $(BIN)/.stamp/controller-gen-$(CONTROLLER_TOOLS)
HELM_STAMP     := $(BIN)/.stamp/helm-$(HELM)
NATS_STAMP     := $(BIN)/.stamp/nats-server-$(NATS_SERVER)
LINT_STAMP     := $(BIN)/.stamp/golangci-lint

$(CONTROLLER_GEN):
	@GOBIN=$(BIN) hack/progress "controller-gen $(CONTROLLER_TOOLS)" $(GO) install -v sigs.k8s.io/controller-tools/cmd/controller-gen@$(CONTROLLER_TOOLS)
	@mkdir -p $(@D) && touch $@

$(HELM_STAMP):
	@GOBIN=$(BIN) hack/progress "helm $(HELM)" $(GO) install -v helm.sh/helm/v4/cmd/helm@$(HELM)
	@mkdir -p $(@D) && touch $@

$(NATS_STAMP):
	@GOBIN=$(BIN) hack/progress "nats-server $(NATS_SERVER)" $(GO) install -v github.com/nats-io/nats-server/v2@$(NATS_SERVER)
	@mkdir -p $(@D) && touch $@

$(LINT_STAMP): hack/lint/go.mod hack/lint/go.sum hack/lint/main.go
	@cd hack/lint && ../progress "golangci-lint" $(GO) build -v -o $(BIN)/golangci-lint .
	@mkdir -p $(@D) && touch $@

.PHONY: helm
helm: $(HELM_STAMP)

.PHONY: nats-server
nats-server: $(NATS_STAMP)

.PHONY: clean
clean: ## Remove bin/
	rm -rf $(BIN)

##@ Check

# envtest's API server: the one of the devcluster, unless there is another.
export KUBEBUILDER_ASSETS ?= $(BIN)/assets

.PHONY: test
test: assets build helm nats-server ## All tests, with the race detector
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v /test/e2e$$)
	cd hack/devcluster && DEVCLUSTER_BINARY=$(BIN)/devcluster DEVCLUSTER_BINARIES=$(BIN)/assets HELM=$(BIN)/helm CONFORMANCE_IMAGES=$(BIN) $(GO) test -p 1 -timeout 20m ./...
	@$(MAKE) --no-print-directory test-interop
	@$(MAKE) --no-print-directory test-certmanager
	@$(MAKE) --no-print-directory test-e2e

# Its result hangs on the chart as well, which go does not see.
.PHONY: test-certmanager
test-certmanager: build devcluster helm ## The operator's CA from cert-manager, whose controllers run in the devcluster
	@cd test/certmanager && ../../hack/progress "cert-manager: compiling its controllers" $(GO) build -v -ldflags '-s -w' -o $(BIN)/certmanager-controllers .
	cd test/certmanager && $(GO) test -count=1 -timeout 15m .

# Its result hangs on programs, which go does not see.
.PHONY: test-interop
test-interop: ## Servers and clients with those of others: grpcurl, curl, connect-go, grpc-go and Connect's conformance suite
	@cd test/interop && ../../hack/progress "grpcurl" $(GO) build -v -o $(BIN)/grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl
	@cd test/interop/conformance && ../../../hack/progress "Connect's conformance suite" $(GO) build -v -o $(BIN)/connectconformance connectrpc.com/conformance/cmd/connectconformance
	@cd test/interop/conformance && $(GO) build -o $(BIN)/conformance-server .
	cd test/interop && $(GO) test -race -count=1 -timeout 10m .

.PHONY: test-e2e
test-e2e: build devcluster helm ## That no call fails while identity changes: operator and workloads on the devcluster
	$(BIN)/devcluster run --images $(BIN) -- $(GO) test -count=1 -timeout 40m -v ./test/e2e

.PHONY: bench
bench: assets build devcluster helm ## Benchmarks against bare grpc-go, in the same run; then certificates a second; from a change of pods to the caller; the devcluster
	$(GO) run ./test/bench
	$(GO) test -run '^$$' -bench Kubesource -benchtime 300x ./test/envtest
	$(BIN)/devcluster run --images $(BIN) -- $(BIN)/endpoints
	cd hack/devcluster && DEVCLUSTER_BINARY=$(BIN)/devcluster $(GO) test -run '^$$' -bench . -benchtime 5x -timeout 30m .

.PHONY: lint
lint: $(LINT_STAMP) ## golangci-lint with kube-api-linter
	$(BIN)/golangci-lint run ./...
	$(BIN)/golangci-lint run --enable-only kubeapilinter ./api/...
	cd hack/devcluster && $(BIN)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...
	cd test/certmanager && $(BIN)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...
	cd test/interop && $(BIN)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...
	cd test/interop/conformance && $(BIN)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...
	cd hack/proto && $(BIN)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Write all generated files
	@hack/generate

.PHONY: verify
verify: $(CONTROLLER_GEN) ## Fail if a generated file is not what make generate writes
	@hack/verify
