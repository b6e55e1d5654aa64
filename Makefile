# `make test` does its own set-up; it needs Rust, Go 1.26 or later, and a C compiler.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One profile and one set of features for clippy, rustdoc, and the tests, so that nothing is built twice.
CARGO_FLAGS := --profile ci --features real-servers --locked

# $(call step,NAME,COMMAND): runs COMMAND and prints how long it took.
step = @echo "== $(1)"; start=$$SECONDS; $(2); echo "== $(1): $$((SECONDS - start)) s"

.PHONY: help
help: ## Print what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | column -t -s $$'\t'

.PHONY: test
test: ## Build the servers that the tests drive, then run every check and every test
	$(call step,tools,tests/tools/build)
	$(call step,format,cargo fmt --check)
	$(call step,clippy,cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings)
	$(call step,doc,RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --no-deps --document-private-items)
	$(call step,test,cargo test $(CARGO_FLAGS))

.PHONY: cluster
cluster: ## Run a real API server with our fixtures, and print the KUBECONFIG for it, until Ctrl-C
	@tests/tools/build >/dev/null
	@cargo run --quiet --example cluster --locked

.PHONY: generate
generate: ## Write docs/signals.md and the relay's allow-list from the catalog
	cargo run --quiet --locked -- catalog > docs/signals.md
	tests/tools/generate-allow-list otel-collector/relay.yaml otel-collector/debug.yaml

.PHONY: clean
clean: ## Remove what was built, the servers that the tests drive included
	cargo clean
	rm -rf "$${KAMAJI_TELEMETRY_TOOLS_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/kamaji-telemetry/tools}"
