//! The CPU time and memory of a process, from procfs.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Returns the user and system CPU time of all running threads of this process.
pub(crate) fn cpu() -> anyhow::Result<Duration> {
    cpu_of("self")
}

/// Returns the user and system CPU time of all running threads of the process with this id, or of `self`. It reads
/// `schedstat`, in nanoseconds, since `/proc/self/stat` has a resolution of 10 ms.
pub(crate) fn cpu_of(process: &str) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task")).context("no procfs: expected Linux")? {
        let path = task?.path().join("schedstat");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let first = text.split_whitespace().next().unwrap_or_default();
        nanoseconds += first.parse::<u64>().with_context(|| format!("{}: {text:?}", path.display()))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Returns the peak of resident memory, in kB.
#[allow(dead_code, reason = "not every benchmark measures it")]
pub(crate) fn peak_memory() -> anyhow::Result<u64> {
    peak_memory_of("self")
}

/// Returns the peak of resident memory of the process with this id, or of `self`, in kB.
#[allow(dead_code, reason = "not every benchmark measures it")]
pub(crate) fn peak_memory_of(process: &str) -> anyhow::Result<u64> {
    status(process, "VmHWM:")
}

/// Returns the resident memory, in kB.
#[allow(dead_code, reason = "not every benchmark measures it")]
pub(crate) fn memory() -> anyhow::Result<u64> {
    status("self", "VmRSS:")
}

fn status(process: &str, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("no {name} expected Linux"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Describes the machine in a line.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown CPU");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{}, {cores} cores, Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim())
}

/// Returns the commit of the checkout, and whether it has uncommitted changes.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok().filter(|run| run.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    format!("{commit}{}", if changed { " with changes" } else { "" })
}
