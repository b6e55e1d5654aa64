//! CPU time and memory of the processes that are measured, from procfs.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::Context;

/// The unit of CPU time in `/proc/PID/stat`: `USER_HZ`, which is 100 on every architecture that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// A process and its descendants, such as those of a database server.
#[derive(Debug)]
pub(super) struct MeasuredProcess {
    pid: u32,
    name: String,
    cpu_before: Duration,
    last: ProcessUsage,
    /// The most memory that was seen, in bytes.
    peak: u64,
}

/// The usage of a process and its descendants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ProcessUsage {
    cpu: Duration,
    /// In bytes. Pages that processes share are divided among them.
    memory: u64,
}

/// The fields of `/proc/PID/stat` that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProcessStat {
    name: String,
    parent: u32,
    /// With that of children that have ended.
    cpu: Duration,
}

impl MeasuredProcess {
    /// Begins to measure a process.
    pub(super) fn new(pid: u32) -> anyhow::Result<Self> {
        let stat = ProcessStat::read(pid)
            .with_context(|| format!("--pid {pid}: expected the id of a process of this machine, which runs Linux"))?;
        let last = ProcessUsage::of(pid);
        Ok(Self { pid, name: stat.name, cpu_before: last.cpu, last, peak: last.memory })
    }

    /// Reads the usage. That of a process that has ended stays as it was.
    pub(super) fn sample(&mut self) {
        let usage = ProcessUsage::of(self.pid);
        if usage != ProcessUsage::default() {
            self.peak = self.peak.max(usage.memory);
            self.last = usage;
        }
    }

    /// Returns the CPU time since the beginning.
    pub(super) fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.cpu_before)
    }

    /// Returns the most memory that was seen, in bytes.
    pub(super) fn peak_memory(&self) -> u64 {
        self.peak
    }

    /// Returns the name and the id.
    pub(super) fn label(&self) -> String {
        format!("{} ({})", self.name, self.pid)
    }
}

impl ProcessUsage {
    /// Returns the usage; zero if the process has ended.
    fn of(pid: u32) -> Self {
        let stats = all_stats();
        let usage = descendants(pid, &stats).into_iter().filter_map(|pid| {
            let stat = stats.get(&pid)?;
            Some(Self { cpu: stat.cpu, memory: memory(pid).unwrap_or_default() })
        });
        usage.fold(Self::default(), |sum, one| Self { cpu: sum.cpu + one.cpu, memory: sum.memory + one.memory })
    }
}

impl ProcessStat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses the text. The name is in parentheses, and may contain any byte.
    fn parse(text: &str) -> Option<Self> {
        let (before, rest) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Numbered from the third field of proc_pid_stat(5): ppid is 4, utime to cstime are 14 to 17.
        let number = |position: usize| fields.get(position - 3)?.parse::<u32>().ok();
        let ticks = (14..=17).map(number).sum::<Option<u32>>()?;
        Some(Self { name: name.to_owned(), parent: number(4)?, cpu: TICK * ticks })
    }
}

/// Returns the stat of every process.
fn all_stats() -> HashMap<u32, ProcessStat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, ProcessStat::read(pid)?))).collect()
}

/// Returns a process and all of its descendants.
fn descendants(pid: u32, stats: &HashMap<u32, ProcessStat>) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        found.extend(stats.iter().filter(|(_, stat)| stat.parent == parent).map(|(child, _)| *child));
    }
    found
}

/// Returns the proportional set size in bytes, or the resident set size where the former can't be read.
fn memory(pid: u32) -> Option<u64> {
    let read = |file: &str, field: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1_024)
    };
    read("smaps_rollup", "Pss:").or_else(|| read("status", "VmRSS:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_process_are_read_whatever_its_name_is() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 0 0 150 50 30 20 20 0 1 0 100 1 1";
        let stat = ProcessStat { name: "a) b (c".to_owned(), parent: 7, cpu: Duration::from_millis(2_500) };
        assert_eq!(ProcessStat::parse(text), Some(stat));
        assert_eq!(ProcessStat::parse(""), None);
    }

    #[test]
    fn descendants_are_found_over_all_generations() {
        let stat = |parent| ProcessStat { name: String::new(), parent, cpu: Duration::ZERO };
        let stats = HashMap::from([(1, stat(0)), (2, stat(1)), (3, stat(2)), (4, stat(0))]);
        let mut found = descendants(1, &stats);
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    }

    #[test]
    fn this_process_uses_memory() {
        let measured = MeasuredProcess::new(std::process::id()).unwrap();
        assert!(measured.peak_memory() > 1_000_000);
        assert!(MeasuredProcess::new(u32::MAX).is_err());
    }
}
