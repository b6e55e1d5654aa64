//! A transaction that holds locks on rows.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::super::DEADLINE;
use super::programs::program;

/// An open transaction. Its locks end with it, or with the process.
pub(crate) struct RowLock {
    child: Child,
}

impl RowLock {
    /// Takes locks by statements that each return one row.
    pub(crate) async fn take(database: &str, statements: &str) -> Self {
        let mut command = Command::new(program("psql"));
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        command.arg(format!("--dbname={database}")).env_clear().kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("`psql` starts");
        let input = child.stdin.as_mut().expect("the input is piped");
        let script = format!("BEGIN;\n{statements};\nSELECT 'locked';\n");
        input.write_all(script.as_bytes()).await.expect("`psql` reads");
        let mut output = BufReader::new(child.stdout.take().expect("the output is piped")).lines();
        let locked = async { while output.next_line().await.expect("`psql` prints") != Some("locked".into()) {} };
        tokio::time::timeout(DEADLINE, locked).await.expect("the rows can be locked");
        Self { child }
    }

    /// Ends the transaction.
    pub(crate) async fn release(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().await.expect("a child can be waited for");
    }
}
