//! Sets options of the linker for the shipped program.

use std::env::{var, var_os};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/agent/functions.ld");
    let target = |name: &str| var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    // Of the profiles, `dist` and `bench` alone optimise this much. Elsewhere the options would only cost time. They were tried
    // with the linkers of this target alone.
    let is_shipped = var("OPT_LEVEL").is_ok_and(|level| level == "3");
    if !is_shipped || [target("ARCH"), target("OS"), target("ENV")] != ["x86_64", "linux", "gnu"] {
        return;
    }
    // Packs the relative relocations, 0.57 MB of the agent's program, into a hundredth. The loader reads all of them at the
    // start, so each of their pages is resident. They need glibc 2.36.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // Puts the functions that the agent runs beside each other. The kernel maps 64 kB around each page of code that is
    // touched; in the order of the crates, that is nearly all code.
    if var_os("CARGO_FEATURE_AGENT").is_some() && var_os("CARGO_FEATURE_BACKEND").is_none() {
        let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{folder}/src/agent/functions.ld");
    }
}
