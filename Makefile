# `make test` does its own set-up; it needs Rust, Go 1.26 or later, and a C compiler.

SHELL := bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One profile and one set of features for clippy, rustdoc, and the tests, so that nothing is built twice.
CARGO_FLAGS := --profile ci --features real-servers --locked

# The one test that `make test` leaves out, and where each fault's test leaves its figures.
SOAK := faults::soak::half_an_hour_of_random_faults_loses_and_repeats_nothing
FIGURES := $(or $(CARGO_TARGET_DIR),target)/tmp/faults
BACKEND_FIGURES := $(or $(CARGO_TARGET_DIR),target)/tmp/backend

# The tests that write what they compare, where KAMAJI_TELEMETRY_WRITE is set.
WRITERS := chart::snapshots::the_chart_renders_its_snapshots \
	chart::backend::snapshots::the_backends_chart_renders_its_snapshots \
	chart::readme::the_readmes_tell_every_value_as_values_yaml_does

# Those that hold the allow-list.
CONFIGURATIONS := otel-collector/relay.yaml otel-collector/debug.yaml

# $(call step,NAME,COMMAND): runs COMMAND and prints how long it took.
define step
@echo "== $(1)"
start=$$SECONDS
$(2)
echo "== $(1): $$((SECONDS - start)) s"
endef

.PHONY: help
help: ## Print what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | column -t -s $$'\t'

.PHONY: test
test: tools format clippy doc tests ## Build what the tests drive, then run every check and every test

.PHONY: tools
tools: ## Build what the tests drive, where it isn't there
	$(call step,tools,tests/tools/build)

.PHONY: format
format: ## Check the format
	$(call step,format,cargo fmt --check)

.PHONY: clippy
clippy: ## Lint
	$(call step,clippy,cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings)

.PHONY: doc
doc: ## Build the documentation of the code
	$(call step,doc,RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --no-deps --document-private-items)

.PHONY: tests
tests: tools ## Run the tests, and print what came of each fault
	@rm -rf $(FIGURES) $(BACKEND_FIGURES)
	$(call step,tests,cargo test $(CARGO_FLAGS))
	@cat $(FIGURES)/*.md $(BACKEND_FIGURES)/*.md

.PHONY: soak
soak: tools ## Try a million of anything on admission, and run half an hour of random faults; KAMAJI_TELEMETRY_FAULTS_SEED repeats one
	$(call step,anything,PROPTEST_CASES=1000000 cargo test $(CARGO_FLAGS) --lib --test it anything_)
	$(call step,soak,cargo test $(CARGO_FLAGS) --test it -- --ignored --exact --nocapture $(SOAK))

.PHONY: cluster
cluster: ## Run a real API server with our fixtures, and print the KUBECONFIG for it, until Ctrl-C
	@tests/tools/build >/dev/null
	@cargo run --quiet --example cluster --locked

.PHONY: generate
generate: tools ## Write what is derived: docs/signals.md and the relay's allow-list from the catalog, snapshots and READMEs from the charts
	cargo run --quiet --locked -- catalog > docs/signals.md.new
	mv docs/signals.md.new docs/signals.md
	allow_list=$$(mktemp); trap 'rm -f "$$allow_list"' EXIT
	cargo run --quiet --locked -- catalog --output collector > "$$allow_list"
	sed -i -e '/^  # --- generated/,/^  # --- end/{//!d}' -e "/^  # --- generated/r $$allow_list" $(CONFIGURATIONS)
	KAMAJI_TELEMETRY_WRITE=1 cargo test $(CARGO_FLAGS) --test it -- --exact $(WRITERS)

.PHONY: clean
clean: ## Remove what was built, what the tests drive included
	cargo clean
	rm -rf "$${KAMAJI_TELEMETRY_TOOLS_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/kamaji-telemetry/tools}"
