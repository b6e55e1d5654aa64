//! What the released binary asks of the system that it runs on, as binutils' readelf prints it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What the binary may be at most, in bytes.
const SIZE: u64 = 20_000_000;

/// What it may be linked with: of the packages libc6 and libgcc-s1, which the base image has.
const LIBRARIES: [&str; 5] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

/// The C library of the base image, Debian 13's.
const GLIBC: (u32, u32) = (2, 41);

fn readelf(what: &str, binary: &Path) -> String {
    let output = Command::new("readelf").args([what, "--wide"]).arg(binary).output();
    let output = output.expect("`readelf` is there: install binutils, whose linker Rust needs too");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs the released binary: run `make test`")]
fn the_binary_is_small_and_stripped() {
    let binary = super::root::release();
    let size = std::fs::metadata(&binary).unwrap().len();
    assert!(size < SIZE, "{size} bytes: expected less than {SIZE}");
    let sections = readelf("--sections", &binary);
    assert!(sections.contains(".dynsym") && !sections.contains(".symtab"), "{sections}");
}

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs the released binary: run `make test`")]
fn the_binary_needs_no_library_and_no_c_library_that_the_base_image_lacks() {
    let binary = super::root::release();
    let dynamic = readelf("--dynamic", &binary);
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let needed: BTreeSet<_> = needed.filter_map(|line| line.split(['[', ']']).nth(1)).collect();
    let allowed = BTreeSet::from(LIBRARIES);
    assert!(needed.contains("libc.so.6") && needed.is_subset(&allowed), "{needed:?}: expected of {allowed:?}");

    let versions = readelf("--version-info", &binary);
    let versions = versions.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
    let numbers = |version: &str| {
        let mut numbers = version.split('.').map(|number| number.parse().expect("a version is numbers"));
        (numbers.next().expect("it has a first"), numbers.next().unwrap_or(0))
    };
    let newest: (u32, u32) = versions.map(numbers).max().expect("it uses the C library");
    assert!(newest <= GLIBC, "it needs glibc {newest:?}: expected at most {GLIBC:?}, which the base image has");
}
