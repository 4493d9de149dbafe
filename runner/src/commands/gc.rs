//! `rkt gc`

use std::time::Duration;

use appc_image::Error;
use appc_image::store::Store;
use appc_spec::ImageId;

use crate::cli::Global;
use crate::failure::{Context, Failure, Outcome};
use crate::output;
use crate::pod::dir::{Lock, Place, Pod, Pods};
use crate::pod::gc;
use crate::{duration, human};

/// A download that was broken off longer ago than this is not gone on with.
const PARTIAL: Duration = Duration::from_secs(24 * 60 * 60);

/// What `gc` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt gc --grace-period=0s")]
pub struct Args {
    /// How long a pod is kept after it was first found to have ended
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration::parse)]
    grace_period: Duration,
    /// Only marks what has ended
    #[arg(long)]
    mark_only: bool,
}

/// Removes pods that have ended, and what killed processes left in the store.
pub fn run(global: &Global, args: Args) -> Outcome {
    global.require_root()?;
    let pods = Pods::new(&global.dir);
    let mut failed = false;
    let mut note = |pod: &str, done: Result<(), Failure>| {
        if let Err(failure) = done {
            global.warn(format!("pod {pod:?}: {}", failure.line()));
            failed = true;
        }
    };
    for pod in pods.all(&[Place::Embryo, Place::Prepare, Place::Run])? {
        note(&pod.uuid.to_string(), mark(global, pod));
    }
    if !args.mark_only {
        for pod in pods.all(&[Place::ExitedGarbage, Place::Garbage])? {
            note(&pod.uuid.to_string(), sweep(global, pod, args.grace_period));
        }
        store(global, &pods)?;
    }
    if failed { Err(Failure::new("failed to remove one or more pods")) } else { Ok(0) }
}

fn mark(global: &Global, mut pod: Pod) -> Result<(), Failure> {
    if pod.try_lock().context("locking it")? != Lock::Taken {
        return Ok(());
    }
    let what = if pod.place == Place::Run { "moving pod" } else { "moving failed prepare" };
    global.warn(format!("{what} {:?} to garbage", pod.uuid.to_string()));
    gc::mark(&mut pod).context("moving it to garbage")
}

fn sweep(global: &Global, pod: Pod, grace: Duration) -> Result<(), Failure> {
    let uuid = pod.uuid.to_string();
    if pod.place == Place::ExitedGarbage {
        let age = human::now().saturating_sub(pod.changed().context("looking at it")?);
        if u128::try_from(age).unwrap_or(0) < grace.as_nanos() {
            let grace = duration::print(grace);
            global.debug(format!("pod {uuid:?} not removed: still within grace period ({grace})"));
            return Ok(());
        }
    }
    if pod.try_lock().context("locking it")? != Lock::Taken {
        return Ok(());
    }
    output::print(&format!("Garbage collecting pod {uuid:?}\n")).context("writing to standard output")?;
    gc::delete(pod).context("removing it")
}

/// Images that pods which are being prepared or run are made of stay; what is left over from killed imports goes.
fn store(global: &Global, pods: &Pods) -> Result<(), Failure> {
    let in_use = images_of(pods, &[Place::Prepare, Place::Run])?;
    let store = global.store()?;
    let report = store.gc(&in_use)?;
    let partial = appc_image::fetch::remove_partial(&store, PARTIAL)?;
    global.debug(format!("broken downloads removed: {partial}"));
    let unknown = appc_image::fetch::remove_unknown(&store)?;
    global.debug(format!("records of images that are no more removed: {unknown}"));
    global.debug(format!("store: {report:?}"));
    tell_damaged(global, &store)
}

/// Names the images that cannot be read. What they share with others is not known: it stays for as long as they do.
pub(super) fn tell_damaged(global: &Global, store: &Store) -> Result<(), Failure> {
    for damaged in store.list_all()?.1 {
        let remove = match &damaged {
            Error::Damaged { id, .. } => format!(", or remove it with `rkt image rm {}`", id.short()),
            _ => String::new(),
        };
        global.warn(format!("{damaged}{remove}"));
    }
    Ok(())
}

/// All images that the pods in `places` are made of.
pub(super) fn images_of(pods: &Pods, places: &[Place]) -> Result<Vec<ImageId>, Failure> {
    let mut images: Vec<ImageId> = Vec::new();
    for pod in pods.all(places)? {
        let of_pod = pod.runtime().map(|runtime| runtime.images).unwrap_or_default();
        images.extend(of_pod.iter().filter_map(|id| id.parse().ok()));
    }
    Ok(images)
}
