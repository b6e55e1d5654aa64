//! This program as another process, which is told what to do in lines and answers in lines.

use std::env::current_exe;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};

/// A process, and its standard input and output.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program as one of its parts.
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(current_exe()?);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no standard input")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, input, output })
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "a process ended early: {:?}", self.child.wait()?);
        Ok(line.trim().to_owned())
    }

    /// Sends it a line, and gives the one that it answers.
    pub(crate) fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        writeln!(self.input, "{line}")?;
        self.line()
    }

    /// Closes its input and waits.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        let Self { mut child, input, output } = self;
        drop((input, output));
        ensure!(child.wait()?.success(), "a process failed");
        Ok(())
    }
}
