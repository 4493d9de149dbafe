//! `rkt rm`

use std::path::PathBuf;

use crate::cli::Global;
use crate::commands::one_uuid;
use crate::failure::{Context, Failure, Outcome};
use crate::output;
use crate::pod::dir::{Lock, Place, Pods};
use crate::pod::gc;

/// What `rm` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt rm 4f1b8a2e")]
pub struct Args {
    /// UUIDs of pods, or beginnings of them
    #[arg(value_name = "UUID")]
    uuids: Vec<String>,
    /// Reads the UUID from a file
    #[arg(long, value_name = "FILE", conflicts_with = "uuids")]
    uuid_file: Option<PathBuf>,
}

/// Removes pods that do not run.
pub fn run(global: &Global, args: Args) -> Outcome {
    global.require_root()?;
    let uuids = match args.uuids.is_empty() {
        true => vec![one_uuid(None, args.uuid_file.as_deref())?],
        false => args.uuids,
    };
    if let [uuid] = uuids.as_slice() {
        output::print(&format!("{:?}\n", remove(global, uuid)?)).context("writing to standard output")?;
        return Ok(0);
    }
    let mut failed = false;
    for uuid in uuids {
        match remove(global, &uuid) {
            Ok(whole) => output::print(&format!("{whole:?}\n")).context("writing to standard output")?,
            Err(failure) => {
                global.warn(failure.line());
                failed = true;
            }
        }
    }
    if failed { Err(Failure::new("failed to remove one or more pods")) } else { Ok(0) }
}

fn remove(global: &Global, prefix: &str) -> Result<String, Failure> {
    let mut pod = Pods::new(&global.dir).find(prefix)?;
    let uuid = pod.uuid.to_string();
    match (pod.try_lock().context(format!("locking pod {uuid}"))?, pod.place) {
        (Lock::Taken, _) => {}
        (Lock::Gone, _) => return Ok(uuid),
        (Lock::Held, Place::Run) => {
            return Err(Failure::new(format!("pod {uuid:?} is currently running: end its apps first")));
        }
        (Lock::Held, Place::Embryo | Place::Prepare) => {
            return Err(Failure::new(format!("pod {uuid:?} is currently being prepared")));
        }
        (Lock::Held, _) => return Err(Failure::new(format!("pod {uuid:?} is currently being deleted"))),
    }
    if pod.place == Place::Prepare {
        global.debug(format!("moving failed prepare {uuid:?} to garbage"));
    }
    gc::mark(&mut pod).context(format!("moving pod {uuid:?} to garbage"))?;
    gc::delete(pod).context(format!("removing pod {uuid:?}"))?;
    Ok(uuid)
}
