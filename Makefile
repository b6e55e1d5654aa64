# `make test` needs Rust, Go 1.26 or later, Node.js 20 or later, and Debian or Ubuntu; it sets up the rest itself.

SHELL := bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One profile and one set of features for clippy, rustdoc and the tests, so that no dependency is compiled twice.
CARGO_FLAGS := --profile ci --features real-servers --locked

# The longest test, which `make test` leaves out, and the directories where the tests leave their figures.
SOAK := faults::soak::half_an_hour_of_random_faults_loses_and_repeats_nothing
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
FIGURES := $(TARGET_DIR)/tmp/faults
BACKEND_FIGURES := $(TARGET_DIR)/tmp/backend
NODE_FIGURES := $(TARGET_DIR)/tmp/node
BUDGETS := $(abspath $(TARGET_DIR))/budgets.md

# The tests that write their expected output where KAMAJI_TELEMETRY_WRITE is set.
WRITERS := chart::snapshots::the_chart_renders_its_snapshots \
	chart::backend::snapshots::the_backends_chart_renders_its_snapshots \
	chart::backend::missing_values::the_copy_of_values_yaml_that_templates_read_is_up_to_date \
	chart::readme::the_readmes_tables_of_values_match_values_yaml \
	docs::reference::the_reference_is_of_the_commands_and_the_metrics

# The configurations that contain the allow-list.
CONFIGURATIONS := otel-collector/relay.yaml otel-collector/debug.yaml

# The files that the agent's chart has a copy of: a chart with links out of its folder is incomplete where it is taken from Git.
AGENT_CHART := charts/kamaji-telemetry-agent
AGENT_CHART_FILES := $(CONFIGURATIONS) otel-collector/token.yaml $(AGENT_CHART)/values.yaml

# The tools of the audit and the SBOM.
CARGO_DENY := cargo-deny@0.20.2
CARGO_CYCLONEDX := cargo-cyclonedx@0.5.9

# The images: one for each component, which is a cargo feature, and the relay's; the name before -$(image); the platforms (the
# engine's own if empty); where buildx puts them; more flags of the engine. TARGET=static with BASE=scratch links a component
# statically, on nothing.
VERSION := $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
COMPONENTS := agent backend
IMAGES := $(COMPONENTS) relay
IMAGE := ghcr.io/clastix/kamaji-telemetry
TAG := $(VERSION)
PLATFORMS :=
OUTPUT := type=docker
BASE :=
TARGET :=
IMAGE_FLAGS :=
IMAGE_ARGUMENTS = $$(if [[ $$image == relay ]]; then echo --file otel-collector/Dockerfile; else echo --build-arg COMPONENT=$$image; fi) \
	--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
	$(if $(BASE),--build-arg BASE=$(BASE)) $(if $(TARGET),--target $(TARGET)) \
	$(if $(PLATFORMS),--platform $(PLATFORMS)) $(IMAGE_FLAGS)

# The test that `make upgrade-test` runs.
UPGRADE := node::rollout

# The directory of the charts, and the digest of the relay's image that `make chart-defaults` writes into them.
CHARTS := charts
RELAY_DIGEST :=

# $(call step,NAME,COMMAND): runs COMMAND and prints how long it took.
define step
@echo "== $(1)"
start=$$SECONDS
$(2)
echo "== $(1): $$((SECONDS - start)) s"
endef

# $(call binaries,PROFILE): builds each component's binary alone into target/images/PROFILE/COMPONENT, with the list of its
# sources. They share one build directory, where dependencies with the same features are compiled once.
define binaries
for component in $(COMPONENTS); do
	cargo build --profile $(1) --locked --no-default-features --features $$component --bins
	mkdir -p $(TARGET_DIR)/images/$(1)/$$component
	cp -p $(TARGET_DIR)/$(1)/kamaji-telemetry $(TARGET_DIR)/$(1)/kamaji-telemetry.d $(TARGET_DIR)/images/$(1)/$$component
done
endef

# $(call need,cargo-NAME@VERSION,TARGET): fails unless that version of a cargo command is installed; TARGET installs it.
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
test: tools format clippy features doc binaries tests ## Run every check and every test

.PHONY: tools
tools: ## Build the servers and tools that the tests run, unless they are up to date
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

.PHONY: binaries
binaries: ## Build the binary of each image, as the tests run it
	$(call step,binaries,$(call binaries,ci))

.PHONY: tests
tests: tools binaries ## Run the tests, and print the figures of each fault and of the node
	@rm -rf $(FIGURES) $(BACKEND_FIGURES) $(NODE_FIGURES)
	$(call step,tests,cargo test $(CARGO_FLAGS))
	@cat $(FIGURES)/*.md $(BACKEND_FIGURES)/*.md $(NODE_FIGURES)/*.md

.PHONY: soak
soak: tools ## Fuzz validation with a million inputs, run half an hour of random faults, and move the clock with libfaketime; KAMAJI_TELEMETRY_FAULTS_SEED repeats one
	$(call step,anything,PROPTEST_CASES=1000000 cargo test $(CARGO_FLAGS) --lib --test it anything_)
	$(call step,soak,cargo test $(CARGO_FLAGS) --test it -- --ignored --exact --nocapture $(SOAK))
	$(call step,clock,cargo test $(CARGO_FLAGS) --test it -- --ignored backend::clock)

.PHONY: measure
measure: tools ## Measure the relay's memory against the chart's limit: takes minutes
	$(call step,measure,cargo test $(CARGO_FLAGS) --test it -- --ignored --nocapture relay::memory)

# The agent's program as it is shipped, since most of its memory is pages of the program. The changes go through real servers.
# The table is in target/budgets.md too.
.PHONY: bench
bench: tools dist ## Measure every budget, and print the table of docs/performance.md: takes an hour, on a machine without other load
	@rm -f $(BUDGETS)
	export KAMAJI_TELEMETRY_BUDGETS=$(BUDGETS) KAMAJI_TELEMETRY_CHANGES=1000
	for objects in 10000 100000; do
		MALLOC_TOP_PAD_=65536 cargo bench --locked --bench observe -- $$objects --program $(TARGET_DIR)/images/dist/agent/kamaji-telemetry
	done
	cargo bench --locked --bench ingest
	cargo bench --locked --bench insights
	cargo test --profile bench --locked --features real-servers --test it -- --nocapture --test-threads=1 commit_delay
	@echo "$$(sed -n '/^model name/{s/.*: //p;q}' /proc/cpuinfo), $$(nproc) cores, Linux $$(uname -r), $$(date -u +%F), commit $$(git rev-parse --short HEAD)"
	@printf '\n| what | reached | budget | |\n|---|---|---|---|\n' && cat $(BUDGETS)

.PHONY: dist
dist: ## Build the binary of each image as it is shipped, in target/images/dist, and check its size
	$(call step,dist,$(call binaries,dist))
	$(call step,check,cargo test $(CARGO_FLAGS) --test it -- --ignored image::binary)

.PHONY: order
order: ## Write src/agent/functions.ld anew, the order of the agent's functions; as root, with valgrind and curl
	benches/observe/order-functions

.PHONY: audit
audit: ## Check the dependencies' licences, sources, versions and known vulnerabilities by deny.toml; needs the network
	$(call need,$(CARGO_DENY),audit-tools)
	$(call step,audit,cargo deny --locked check)

# The names of its own crate would hold the path of this checkout.
.PHONY: sbom
sbom: ## List what each binary is built from in target/sbom-COMPONENT.cdx.json, as CycloneDX
	$(call need,$(CARGO_CYCLONEDX),sbom-tools)
	@mkdir -p target
	for component in $(COMPONENTS); do
		cargo cyclonedx --format json --spec-version 1.5 --no-default-features --features $$component \
			--override-filename sbom.cdx
		sed 's|path+file://$(CURDIR)#||g' sbom.cdx.json > target/sbom-$$component.cdx.json
		rm sbom.cdx.json
	done

.PHONY: audit-tools
audit-tools: ## Install what `make audit` needs
	cargo install --locked $(CARGO_DENY)

.PHONY: sbom-tools
sbom-tools: ## Install what `make sbom` needs
	cargo install --locked $(CARGO_CYCLONEDX)

.PHONY: image
image: ## Build the images IMAGE-NAME:TAG, or some of IMAGES, with docker buildx or podman, for PLATFORMS
	@if docker buildx version >/dev/null 2>&1; then
		for image in $(IMAGES); do
			docker buildx build --tag $(IMAGE)-$$image:$(TAG) --output $(OUTPUT) $(IMAGE_ARGUMENTS) .
		done
	elif command -v podman >/dev/null; then
		if [[ '$(OUTPUT)' != type=docker ]]; then
			echo 'OUTPUT=$(OUTPUT) needs `docker buildx`: podman keeps the image; take it from there, such as with `podman manifest push`' >&2
			exit 1
		fi
		for image in $(IMAGES); do
			name=$(IMAGE)-$$image:$(TAG)
			# It would add to the images of the last build, and go on running the first of them.
			if podman manifest exists $$name; then podman manifest rm $$name; fi
			podman build --manifest $$name $(IMAGE_ARGUMENTS) .
		done
	else
		echo 'no `docker buildx` and no `podman` in PATH: install one of them to build the images' >&2
		exit 1
	fi

.PHONY: try-image
try-image: ## Run the images that `make image` built with docker: their version, the catalog, the relay's configurations
	@for image in $(IMAGES); do
		run=(docker run --rm --read-only --cap-drop=ALL)
		name=$(IMAGE)-$$image:$(TAG)
		"$${run[@]}" $$name --version
		if [[ $$image == relay ]]; then
			for file in $(CONFIGURATIONS); do
				"$${run[@]}" --env RELAY_ENDPOINT=https://telemetry.example.org --volume "$(CURDIR)/$$file:/config.yaml:ro" \
					$$name validate --config=/config.yaml
			done
		else
			"$${run[@]}" $$name catalog | diff docs/signals.md -
		fi
	done

.PHONY: chart-defaults
chart-defaults: ## Make the relay's image with RELAY_DIGEST the default of the agent's chart in CHARTS, as a release does
	@if [[ ! '$(RELAY_DIGEST)' =~ ^sha256:[0-9a-f]{64}$$ ]]; then
		echo 'RELAY_DIGEST is `$(RELAY_DIGEST)`: expected sha256: and 64 hexadecimal digits' >&2
		exit 1
	fi
	chart=$(CHARTS)/kamaji-telemetry-agent
	name=$(IMAGE)-relay
	values=(registry "$${name%%/*}" repository "$${name#*/}" tag $(VERSION) digest $(RELAY_DIGEST))
	for ((index = 0; index < $${#values[@]}; index += 2)); do
		key=$${values[index]} value=$${values[index + 1]}
		sed -i "/^relay:/,/^[a-z]/{/^  image:/,/^  [a-z]/s|^    $$key: .*|    $$key: $$value|}" $$chart/values.yaml
		sed -i "s#^\(| \`relay.image.$$key\` | \)\`[^\`]*\`#\1\`\"$$value\"\`#" $$chart/README.md
		if ! grep -qx "    $$key: $$value" $$chart/values.yaml || ! grep -qF "| \`relay.image.$$key\` | \`\"$$value\"\` |" $$chart/README.md; then
			echo "relay.image.$$key has no line of its own in values.yaml or README.md of $$chart: expected one in each" >&2
			exit 1
		fi
	done
	cp $$chart/values.yaml $$chart/files
	sed -i "/- name: relay\$$/{n;s|image: .*|image: $$name@$(RELAY_DIGEST)|}" $$chart/Chart.yaml
	grep -qF "image: $$name@$(RELAY_DIGEST)" $$chart/Chart.yaml

.PHONY: conformance
conformance: tools ## Run the conformance suite of stores; KAMAJI_TELEMETRY_TEST_POSTGRES=postgres://USER@HOST/DATABASE takes another server
	cargo test $(CARGO_FLAGS) --test it -- backend::conformance

.PHONY: upgrade-test
upgrade-test: ## Run the node's test of a rollout from the last release to this checkout; ends at once if there is no release
	@previous=$$(tests/tools/previous)
	if [[ -z $$previous ]]; then
		echo 'upgrade-test: no tag v* before HEAD: there is no release to upgrade from'
		exit 0
	fi
	$(MAKE) tools binaries
	if ! cargo test $(CARGO_FLAGS) --test it -- --list $(UPGRADE) | grep -q ': test$$'; then
		echo 'no test is called $(UPGRADE): expected the rollout of the node' >&2
		exit 1
	fi
	KAMAJI_TELEMETRY_TEST_PREVIOUS=$$previous cargo test $(CARGO_FLAGS) --test it -- --nocapture $(UPGRADE)

.PHONY: version
version: ## Print the version
	@echo $(VERSION)

.PHONY: cluster
cluster: ## Run a real API server with our fixtures, and print the KUBECONFIG for it, until Ctrl-C
	@tests/tools/build >/dev/null
	@cargo run --quiet --example cluster --locked

.PHONY: generate
generate: tools ## Write the derived files: docs/signals.md and the relay's allow-list from the catalog, docs/reference.md from the commands and the metrics, snapshots and READMEs from the charts
	cargo run --quiet --locked -- catalog > docs/signals.md.new
	mv docs/signals.md.new docs/signals.md
	allow_list=$$(mktemp); trap 'rm -f "$$allow_list"' EXIT
	cargo run --quiet --locked -- catalog --output collector > "$$allow_list"
	sed -i -e '/^  # --- generated/,/^  # --- end/{//!d}' -e "/^  # --- generated/r $$allow_list" $(CONFIGURATIONS)
	cp $(AGENT_CHART_FILES) $(AGENT_CHART)/files
	KAMAJI_TELEMETRY_WRITE=1 cargo test $(CARGO_FLAGS) --test it -- --exact $(WRITERS)

.PHONY: screenshots
screenshots: tools ## Make the README's screenshots in docs/images again
	KAMAJI_TELEMETRY_WRITE=1 cargo test $(CARGO_FLAGS) --test it -- --exact browser::readme::the_readme_has_small_screenshots_of_the_pages

.PHONY: clean
clean: ## Remove everything that was built, the tests' servers and tools included
	cargo clean
	rm -rf "$${KAMAJI_TELEMETRY_TOOLS_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/kamaji-telemetry/tools}"
