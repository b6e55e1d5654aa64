# `make test` does its own set-up; it needs Rust, Go 1.26 or later, a C compiler with binutils, and Debian or Ubuntu.

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
	chart::readme::the_readmes_tables_of_values_match_values_yaml

# Those that hold the allow-list.
CONFIGURATIONS := otel-collector/relay.yaml otel-collector/debug.yaml

# What the audit and the SBOM are made with.
CARGO_DENY := cargo-deny@0.20.2
CARGO_CYCLONEDX := cargo-cyclonedx@0.5.9

# The image: its name, what it is built for (the engine's own platform if empty), where buildx puts it, and more flags of the
# engine's. TARGET=static with BASE=scratch links it statically, on nothing.
VERSION := $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
IMAGE := ghcr.io/clastix/kamaji-telemetry
TAG := $(VERSION)
PLATFORMS :=
OUTPUT := type=docker
BASE :=
TARGET :=
IMAGE_FLAGS :=
IMAGE_ARGUMENTS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
	$(if $(BASE),--build-arg BASE=$(BASE)) $(if $(TARGET),--target $(TARGET)) \
	$(if $(PLATFORMS),--platform $(PLATFORMS)) $(IMAGE_FLAGS)

# $(call step,NAME,COMMAND): runs COMMAND and prints how long it took.
define step
@echo "== $(1)"
start=$$SECONDS
$(2)
echo "== $(1): $$((SECONDS - start)) s"
endef

# $(call need,cargo-NAME@VERSION,TARGET): fails unless that version of a cargo command, which TARGET installs, is there.
define need
@if ! cargo $(subst @, --version 2>/dev/null | grep -q ' ,$(patsubst cargo-%,%,$(1)))$$'; then
	echo '$(1) is not installed: run `make $(2)`, which takes some minutes' >&2
	exit 1
fi
endef

.PHONY: help
help: ## Print what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | column -t -s $$'\t'

.PHONY: test
test: tools format clippy features doc release tests ## Build what the tests drive, then run every check and every test

.PHONY: tools
tools: ## Build what the tests drive, where it isn't there
	$(call step,tools,tests/tools/build)

.PHONY: format
format: ## Check the format
	$(call step,format,cargo fmt --check)

.PHONY: clippy
clippy: ## Lint
	$(call step,clippy,cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings)

.PHONY: features
features: ## Check that agent and backend each compile without the other, and without warnings
	$(call step,features,for feature in agent backend; do \
		cargo clippy --profile ci --locked --no-default-features --features $$feature --all-targets -- -D warnings; done)

.PHONY: doc
doc: ## Build the documentation of the code
	$(call step,doc,RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --no-deps --document-private-items)

.PHONY: release
release: ## Build the binary that is released, whose needs the tests hold against the image
	$(call step,release,cargo build --release --locked)

.PHONY: tests
tests: tools release ## Run the tests, and print what came of each fault
	@rm -rf $(FIGURES) $(BACKEND_FIGURES)
	$(call step,tests,cargo test $(CARGO_FLAGS))
	@cat $(FIGURES)/*.md $(BACKEND_FIGURES)/*.md

.PHONY: soak
soak: tools ## Try a million of anything on admission, and run half an hour of random faults; KAMAJI_TELEMETRY_FAULTS_SEED repeats one
	$(call step,anything,PROPTEST_CASES=1000000 cargo test $(CARGO_FLAGS) --lib --test it anything_)
	$(call step,soak,cargo test $(CARGO_FLAGS) --test it -- --ignored --exact --nocapture $(SOAK))

.PHONY: measure
measure: tools ## Measure how much memory the relay takes, and whether that fits the chart's limit: minutes
	$(call step,measure,cargo test $(CARGO_FLAGS) --test it -- --ignored --nocapture relay::memory)

.PHONY: audit
audit: ## Check the dependencies' licences, sources, versions and known vulnerabilities by deny.toml; needs the network
	$(call need,$(CARGO_DENY),audit-tools)
	$(call step,audit,cargo deny --locked check)

# The names of its own crate would hold the path of this checkout.
.PHONY: sbom
sbom: ## List what the binary is built from in target/sbom.cdx.json, as CycloneDX
	$(call need,$(CARGO_CYCLONEDX),sbom-tools)
	@cargo cyclonedx --format json --spec-version 1.5 --override-filename sbom.cdx
	mkdir -p target
	sed 's|path+file://$(CURDIR)#||g' sbom.cdx.json > target/sbom.cdx.json
	rm sbom.cdx.json

.PHONY: audit-tools
audit-tools: ## Install what `make audit` needs
	cargo install --locked $(CARGO_DENY)

.PHONY: sbom-tools
sbom-tools: ## Install what `make sbom` needs
	cargo install --locked $(CARGO_CYCLONEDX)

.PHONY: image
image: ## Build the image IMAGE:TAG with docker buildx or podman, for PLATFORMS
	@if docker buildx version >/dev/null 2>&1; then
		docker buildx build --tag $(IMAGE):$(TAG) --output $(OUTPUT) $(IMAGE_ARGUMENTS) .
	elif command -v podman >/dev/null; then
		if [[ '$(OUTPUT)' != type=docker ]]; then
			echo 'OUTPUT=$(OUTPUT) needs `docker buildx`: podman keeps the image; take it from there, such as with `podman manifest push`' >&2
			exit 1
		fi
		# It would add to the images of the last build, and go on running the first of them.
		if podman manifest exists $(IMAGE):$(TAG); then podman manifest rm $(IMAGE):$(TAG); fi
		podman build --manifest $(IMAGE):$(TAG) $(IMAGE_ARGUMENTS) .
	else
		echo 'no `docker buildx` and no `podman` in PATH: install one of them to build the image' >&2
		exit 1
	fi

.PHONY: version
version: ## Print the version
	@echo $(VERSION)

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
