# syntax=docker/dockerfile:1.25@sha256:0adf442eae370b6087e08edc7c50b552d80ddf261576f4ebd6421006b2461f12
# The images of the agent and of the backend: one binary each on distroless/cc, for linux/amd64 and linux/arm64. `make image`
# builds both, with COMPONENT=agent and COMPONENT=backend. The relay's is otel-collector/Dockerfile.

# scratch is for the stage `static`.
ARG BASE=gcr.io/distroless/cc-debian13:nonroot@sha256:d97bc0a941b8d4be647dc0ee75b264ddbb772f1ac5ba690a4309c00723b23775

# Compiles on the machine's own architecture, and links for the image's. The C library of Debian 12 is older than the base
# image's, so the binary runs on both.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
ARG TARGETARCH
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# Writes Rust's name of the architecture; installs the C compiler and the standard libraries of a foreign one.
RUN set -eu; \
    case "$TARGETARCH" in \
        amd64) target=x86_64-unknown-linux-gnu gcc=gcc-x86-64-linux-gnu ;; \
        arm64) target=aarch64-unknown-linux-gnu gcc=gcc-aarch64-linux-gnu ;; \
        *) echo "no image for architecture $TARGETARCH: expected amd64 or arm64" >&2; exit 1 ;; \
    esac; \
    echo "$target" >/target; \
    if [ "$(dpkg --print-architecture)" != "$TARGETARCH" ]; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends "$gcc" "libc6-dev-$TARGETARCH-cross"; \
        rm -rf /var/lib/apt/lists/*; \
        rustup target add "$target"; \
    fi
WORKDIR /build
COPY . .
# The cargo feature to build, without a default.
ARG COMPONENT
# Each component and architecture has its own caches: they may be built at once, and cargo's lock lies outside of the cache. A
# cache may hold the build of another checkout. Cargo compares the times of files alone, and COPY keeps those, so `touch` makes it
# compile the crate again.
RUN --mount=type=cache,id=cargo-registry-${COMPONENT}-${TARGETARCH},target=/usr/local/cargo/registry \
    --mount=type=cache,id=kamaji-telemetry-${COMPONENT}-${TARGETARCH},target=/build/target \
    target=$(cat /target) && \
    touch src/lib.rs src/main.rs && \
    cargo build --profile dist --locked --no-default-features --features "${COMPONENT:?expected agent or backend}" --bins \
        --target "$target" && \
    install -D "target/$target/dist/kamaji-telemetry" /image/usr/local/bin/kamaji-telemetry && \
    install -D --mode=644 LICENSE /image/usr/share/doc/kamaji-telemetry/LICENSE

# Links with musl, by each architecture's own compiler: under emulation for a foreign one. The CA bundle is copied because
# scratch has none.
FROM docker.io/library/rust:1.95-alpine@sha256:606fd313a0f49743ee2a7bd49a0914bab7deedb12791f3a846a34a4711db7ed2 AS build-static
ARG TARGETARCH COMPONENT
WORKDIR /build
COPY . .
RUN --mount=type=cache,id=cargo-registry-static-${COMPONENT}-${TARGETARCH},target=/usr/local/cargo/registry \
    --mount=type=cache,id=kamaji-telemetry-static-${COMPONENT}-${TARGETARCH},target=/build/target \
    touch src/lib.rs src/main.rs && \
    cargo build --profile dist --locked --no-default-features --features "${COMPONENT:?expected agent or backend}" --bins && \
    install -D target/dist/kamaji-telemetry /image/usr/local/bin/kamaji-telemetry && \
    install -D -m 644 LICENSE /image/usr/share/doc/kamaji-telemetry/LICENSE && \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM ${BASE} AS base
ARG BASE COMPONENT VERSION REVISION
LABEL org.opencontainers.image.title="kamaji-telemetry-${COMPONENT}" \
    org.opencontainers.image.description="Usage telemetry of Kamaji: ${COMPONENT}" \
    org.opencontainers.image.source="https://github.com/clastix/kamaji-telemetry" \
    org.opencontainers.image.documentation="https://github.com/clastix/kamaji-telemetry/blob/main/README.md" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${BASE}"
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/kamaji-telemetry"]

FROM base AS static
COPY --from=build-static /image /

FROM base
COPY --from=build /image /
