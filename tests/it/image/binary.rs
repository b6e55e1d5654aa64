//! The size of each image's binary and its needs of the base image, as binutils' readelf prints them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::root::Component;

/// The maximum size of a shipped binary, in bytes.
const MAX_SIZE: u64 = 14_000_000;

/// The minimum size of the functions that `src/agent/functions.ld` finds, in bytes. It found 3.4 MB when it was written, and finds
/// less as dependencies and compiler change.
const MIN_USED: usize = 2_700_000;

/// The libraries that a binary may be linked with: those of the packages libc6 and libgcc-s1, which the base image has.
const LIBRARIES: [&str; 5] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

/// The C library of the base image, Debian 13's.
const GLIBC: (u32, u32) = (2, 41);

/// What a binary needs of a C library that packs relocations, and the first version that does.
const PACKED_RELOCATIONS: (&str, (u32, u32)) = ("ABI_DT_RELR", (2, 36));

fn readelf(what: &str, binary: &Path) -> String {
    let output = Command::new("readelf").args([what, "--wide"]).arg(binary).output();
    let output = output.expect("`readelf` is there: install binutils, whose linker Rust needs too");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs the shipped binaries: run `make dist`"]
fn the_shipped_binaries_are_small_and_stripped() {
    for component in Component::ALL {
        let binary = component.shipped();
        let size = std::fs::metadata(&binary).unwrap().len();
        assert!(size < MAX_SIZE, "{}: {size} bytes: expected less than {MAX_SIZE}", component.name());
        let sections = readelf("--sections", &binary);
        assert!(sections.contains(".dynsym") && !sections.contains(".symtab"), "{sections}");
    }
}

#[test]
#[ignore = "needs the shipped binaries: run `make dist`"]
fn the_functions_that_the_agent_runs_are_beside_each_other() {
    let sections = readelf("--sections", &Component::Agent.shipped());
    let used = sections.lines().find_map(|line| line.split_once(" .text.used "));
    let size = used.and_then(|(_, columns)| columns.split_whitespace().nth(3));
    let size = size.map(|size| usize::from_str_radix(size, 16).unwrap()).unwrap_or_default();
    assert!(
        size > MIN_USED,
        "{size} bytes: expected more than {MIN_USED}; benches/observe/order-functions writes src/agent/functions.ld anew"
    );
}

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs the images' binaries: run `make test`")]
fn the_binaries_need_no_library_and_no_c_library_that_the_base_image_lacks() {
    for component in Component::ALL {
        let binary = component.binary();
        let dynamic = readelf("--dynamic", &binary);
        let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
        let needed: BTreeSet<_> = needed.filter_map(|line| line.split(['[', ']']).nth(1)).collect();
        let allowed = BTreeSet::from(LIBRARIES);
        assert!(needed.contains("libc.so.6") && needed.is_subset(&allowed), "{needed:?}: expected of {allowed:?}");
        let newest = newest_glibc(&readelf("--version-info", &binary));
        assert!(newest <= GLIBC, "it needs glibc {newest:?}: expected at most {GLIBC:?}, which the base image has");
    }
}

/// Returns the newest version of the C library that is named in `versions`, the output of readelf.
fn newest_glibc(versions: &str) -> (u32, u32) {
    let versions = versions.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
    let numbers = |version: &str| {
        if version == PACKED_RELOCATIONS.0 {
            return PACKED_RELOCATIONS.1;
        }
        let mut numbers = version.split('.').map(|number| number.parse().expect("a version is numbers"));
        (numbers.next().expect("it has a first"), numbers.next().unwrap_or(0))
    };
    versions.map(numbers).max().expect("it uses the C library")
}
