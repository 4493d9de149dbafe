//! `rkt status`

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cli::Global;
use crate::commands::{Format, one_uuid};
use crate::failure::{Context, Failure, Outcome};
use crate::output;
use crate::pod::dir::{Pod, Pods, State};
use crate::pod::view::PodView;
use crate::{duration, human};

/// What `status` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt status --format=json 4f1b8a2e")]
pub struct Args {
    /// The pod's UUID, or the beginning of it
    uuid: Option<String>,
    /// Reads the UUID from a file
    #[arg(long, value_name = "FILE", conflicts_with = "uuid")]
    uuid_file: Option<PathBuf>,
    /// Waits until the pod has ended, for ever or so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = patience)]
    wait: Option<Patience>,
    /// Prints JSON
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// How long to wait: not, so long, or for ever.
#[derive(Debug, Clone, Copy)]
struct Patience(Option<Duration>);

fn patience(text: &str) -> Result<Patience, String> {
    match text {
        "" | "true" => Ok(Patience(None)),
        "false" => Ok(Patience(Some(Duration::ZERO))),
        text => duration::parse(text).map(|d| Patience(Some(d))),
    }
}

/// Shows the state of one pod.
pub fn run(global: &Global, args: Args) -> Outcome {
    let uuid = one_uuid(args.uuid, args.uuid_file.as_deref())?;
    let pods = Pods::new(&global.dir);
    let pod = pods.find(&uuid)?;
    let pod = match args.wait {
        None => pod,
        Some(patience) => wait(&pods, pod, patience)?,
    };
    let view = PodView::of(&pod).context(format!("pod {uuid}"))?;
    let text = match args.format {
        Some(format) => format.print(&view)?,
        None => lines(&view),
    };
    output::print(&text).context("writing to standard output")?;
    Ok(0)
}

/// How often it is looked at when waiting has an end. Waiting for ever sleeps in the kernel.
const INTERVAL: Duration = Duration::from_millis(50);

fn wait(pods: &Pods, pod: Pod, patience: Patience) -> Result<Pod, Failure> {
    let deadline = patience.0.map(|d| Instant::now() + d);
    loop {
        // It moves from place to place while we wait.
        let pod = pods.find(&pod.uuid.to_string())?;
        let state = pod.state().context("asking for the state")?;
        let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        match (state, deadline) {
            _ if over => return Ok(pod),
            (State::Running | State::Preparing, None) => pod.wait_unlocked().context("waiting for the pod")?,
            (State::Running | State::Preparing, Some(_)) => std::thread::sleep(INTERVAL),
            _ => return Ok(pod),
        }
    }
}

fn lines(view: &PodView) -> String {
    let mut text = format!("state={}\n", view.state);
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name}={value}");
    };
    if let Some(created) = view.created {
        line("created", human::time(created));
    }
    if let Some(started) = view.started {
        line("started", human::time(started));
    }
    if matches!(view.pod_state, State::Running | State::Exited) {
        line("networks", view.networks.join(", "));
    }
    if let Some(pid) = view.pid {
        line("pid", pid.to_string());
    }
    line("exited", view.pod_state.has_ended().to_string());
    if view.pod_state != State::Running {
        for app in &view.apps {
            if let Some(code) = app.exit_code {
                line(&format!("app-{}", app.name), code.to_string());
            }
        }
    }
    text
}
