//! Runs a command in a container of its own: `embed ROOTFS COMMAND…`, as root.

use std::error::Error;
use std::path::Path;

use appc_container::cgroup::Layout;
use appc_container::{Plan, Setup, exit_code};
use oci_spec::runtime::{RootBuilder, Spec};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let rootfs = words.next().ok_or("usage: embed ROOTFS COMMAND…")?;

    // What to run: the specification's defaults, another root file system and command.
    let mut spec = Spec::default();
    spec.set_root(Some(RootBuilder::default().path(rootfs).build()?));
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(words.collect()));
    spec.set_process(Some(process));

    // How: a name, a folder that relative paths start from, and where cgroups are. Then run it.
    let mut setup = Setup::new(format!("embed-{}", std::process::id()), ".");
    setup.cgroups = Some(Layout::detect(Path::new("/sys/fs/cgroup"))?);
    let mut container = Plan::new(&spec, setup)?.spawn()?;
    let status = container.wait()?;
    container.destroy()?;
    std::process::exit(exit_code(status))
}
