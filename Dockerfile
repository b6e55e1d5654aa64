# syntax=docker/dockerfile:1
# The image of agent and backend: one binary on distroless/cc, for linux/amd64 and linux/arm64. `make image` builds it.

ARG RUST_VERSION=1.95
# A release names it by digest; scratch is for the stage `static`.
ARG BASE=gcr.io/distroless/cc-debian13:nonroot

# Compiles on the machine's own architecture, and links for the image's. Debian 12's C library is older than the base's,
# so that the binary runs on both.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:${RUST_VERSION}-bookworm AS build
ARG TARGETARCH
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# What Rust calls the architecture; for another than the machine's, its C compiler and standard libraries too.
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
# Each architecture has caches of its own: both are built at once, and cargo's lock lies outside of what is cached. What they
# hold may be of another checkout; cargo tells by the times of files alone, which COPY keeps, so the crate's roots get new ones.
RUN --mount=type=cache,id=cargo-registry-${TARGETARCH},target=/usr/local/cargo/registry \
    --mount=type=cache,id=kamaji-telemetry-${TARGETARCH},target=/build/target \
    target=$(cat /target) && \
    touch src/lib.rs src/main.rs && \
    cargo build --release --locked --bins --target "$target" && \
    install -D "target/$target/release/kamaji-telemetry" /image/usr/local/bin/kamaji-telemetry && \
    install -D --mode=644 LICENSE /image/usr/share/doc/kamaji-telemetry/LICENSE

# Linked with musl, by each architecture's own compiler: under emulation where it isn't the machine's. The authorities are
# what scratch lacks.
FROM docker.io/library/rust:${RUST_VERSION}-alpine AS build-static
ARG TARGETARCH
WORKDIR /build
COPY . .
RUN --mount=type=cache,id=cargo-registry-static-${TARGETARCH},target=/usr/local/cargo/registry \
    --mount=type=cache,id=kamaji-telemetry-static-${TARGETARCH},target=/build/target \
    touch src/lib.rs src/main.rs && \
    cargo build --release --locked --bins && \
    install -D target/release/kamaji-telemetry /image/usr/local/bin/kamaji-telemetry && \
    install -D -m 644 LICENSE /image/usr/share/doc/kamaji-telemetry/LICENSE && \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM ${BASE} AS base
ARG BASE VERSION REVISION
LABEL org.opencontainers.image.title="kamaji-telemetry" \
    org.opencontainers.image.description="Usage telemetry of Kamaji: agent and backend" \
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
