//! `rkt-oci ps`

use std::process::{Command, ExitCode};

use appc_container::state::Directory;
use appc_container::{Error, supervise};
use clap::{Args, ValueEnum};

use super::{Outcome, print, wrong};
use crate::globals::Globals;

/// Where a caller without `PATH` has `ps`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Show the processes of a container
///
/// The table is what `ps` of the host prints about them. Its arguments follow the container's name, -ef by default:
///
///   rkt-oci ps mycontainer -o pid,stat,args
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Ps {
    /// How to print them: a table, or the numbers as JSON
    #[arg(short, long, default_value = "table")]
    format: Format,
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// Arguments for ps
    #[arg(value_name = "PS-ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Ps {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        let pids = supervise::processes(&directory)?;
        let text = match self.format {
            Format::Json => serde_json::to_string(&pids).map_err(|e| Error::Other(e.to_string()))? + "\n",
            Format::Table => select(&self.ps()?, &pids).map_err(wrong)?,
        };
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What the host's `ps` says about all processes.
    fn ps(&self) -> Result<String, Error> {
        let mut command = Command::new("ps");
        match self.arguments.is_empty() {
            true => command.arg("-ef"),
            false => command.args(&self.arguments),
        };
        if std::env::var_os("PATH").is_none_or(|path| path.is_empty()) {
            command.env("PATH", DEFAULT_PATH);
        }
        let output = command.output().map_err(|e| wrong(format!("run ps of the host: {e}")))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(wrong(format!("ps: {}: {}", output.status, why.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The heading of a table, and its lines about `pids`.
fn select(table: &str, pids: &[i32]) -> Result<String, String> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or("couldn't find PID field in ps output: have ps print one, such as with -o pid,args")?;
    let of_interest = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    let chosen = lines.filter(of_interest).map(|line| format!("{line}\n"));
    Ok(format!("{heading}\n{}", chosen.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn lines_are_chosen_by_the_column_called_pid() {
        let table = "UID   PID  PPID CMD\nroot   12     1 a 13\nroot   13    12 b\n";
        assert_eq!(select(table, &[13, 14]).unwrap(), "UID   PID  PPID CMD\nroot   13    12 b\n");
        assert_eq!(select(table, &[]).unwrap(), "UID   PID  PPID CMD\n");
        assert!(select("COMMAND\nsh\n", &[1]).unwrap_err().contains("couldn't find PID field"));
    }
}
