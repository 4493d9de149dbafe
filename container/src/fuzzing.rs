//! What fuzz targets call: every reader of text that is not ours, with what must hold whatever the text is.
//!
//! `fuzz/` has a target for each and the texts to start from; `tests/corpus.rs` reads those without a fuzzer.

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use oci_spec::runtime::{LinuxResources, LinuxSeccomp, Spec};
use rustix::fs::{Mode, OFlags};

use crate::capabilities::Available;
use crate::cgroup::{Cgroup, CgroupPlan, Layout};
use crate::plan::{MountOptions, Plan, ProcessPlan, RootSource, Setup, Stdio, Warnings};
use crate::seccomp::Filter;
use crate::state::Record;
use crate::{config, protocol};

/// Takes any text, and panics when what must hold does not.
pub type Target = fn(&[u8]);

/// The name of each target, and what it runs.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("process", process),
    ("resources", resources),
    ("mount_options", mount_options),
    ("seccomp", seccomp),
    ("state", state),
    ("protocol", protocol),
];

/// `config.json`: planning ends, with a plan or a sentence.
pub fn config(text: &[u8]) {
    let Ok(spec) = config::read_spec(text, &mut Vec::new()) else { return };
    let mut setup = Setup::new("fuzz", "/tmp");
    setup.root = Some(RootSource::Path(PathBuf::from("/tmp")));
    setup.cgroups = layout().cloned();
    if spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false) {
        setup.stdio = Stdio::Terminal;
    }
    if let Err(why) = Plan::new(&spec, setup) {
        assert!(!why.to_string().is_empty(), "a refusal says why");
    }
}

/// `process.json`: no zero byte gets into what is given to the kernel, and no variable is there twice.
pub fn process(text: &[u8]) {
    let Ok(process) = config::read_process(text, &mut Vec::new()) else { return };
    let Ok(available) = Available::new(true) else { return };
    let plan = ProcessPlan::new(&Spec::default(), &process, available, None, &mut Warnings::default());
    let Ok(plan) = plan else { return };
    for (i, (name, value)) in plan.env.iter().enumerate() {
        assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
        assert!(plan.env[..i].iter().all(|(other, _)| other != name), "{name} is there twice");
    }
    assert!(!plan.args.is_empty() && plan.cwd.is_absolute());
}

/// A cgroup path on the first line, resources after it: the cgroup is below the root of its hierarchy.
pub fn resources(text: &[u8]) {
    let mut parts = text.splitn(2, |byte| *byte == b'\n');
    let (Some(path), Some(text)) = (parts.next(), parts.next()) else { return };
    let Ok(resources) = serde_json::from_slice::<LinuxResources>(text) else { return };
    let (Some(layout), Ok(path)) = (layout(), std::str::from_utf8(path)) else { return };
    let planned = CgroupPlan::new(layout, Path::new(path), Some(&resources));
    if let Ok(Ok(cgroup)) = planned.map(|plan| Cgroup::reopen(&plan.saved())) {
        below_its_hierarchy(&cgroup);
    }
}

/// Mount options, separated by commas: nothing is both set and cleared, except for kinds of access time.
pub fn mount_options(text: &[u8]) {
    /// `MOUNT_ATTR__ATIME`: these are a number of their own, which is cleared before it is set.
    const ACCESS_TIME: u64 = 0x70;
    let Ok(text) = std::str::from_utf8(text) else { return };
    let options: Vec<&str> = text.split(',').collect();
    let parsed = MountOptions::parse(&options);
    for change in [parsed.attributes, parsed.recursive] {
        assert_eq!(change.set & change.clear & !ACCESS_TIME, 0, "set and cleared at once");
    }
}

/// A seccomp profile: its program is one that the kernel would take.
pub fn seccomp(text: &[u8]) {
    /// Classes and operations of linux/bpf_common.h.
    const CLASS: u16 = 0x07;
    const JUMP: u16 = 0x05;
    const RETURN: u16 = 0x06;
    const ALWAYS: u16 = 0x00;
    const OPERATION: u16 = 0xf0;
    let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(text) else { return };
    let Ok(filter) = Filter::compile(&profile) else { return };
    let program = filter.program();
    assert!((1..=4096).contains(&program.len()), "{} instructions", program.len());
    assert_eq!(program.last().map(|last| last.code & CLASS), Some(RETURN), "it ends");
    for (at, instruction) in program.iter().enumerate().filter(|(_, i)| i.code & CLASS == JUMP) {
        let farthest = match instruction.code & OPERATION {
            ALWAYS => instruction.value as usize,
            _ => instruction.yes.max(instruction.no).into(),
        };
        assert!(at + 1 + farthest < program.len(), "instruction {at} jumps out of the program");
    }
}

/// `state.json`: what was read is written and read again as the same, and leads to no cgroup that cannot be a
/// container's.
pub fn state(text: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(text) else { return };
    let written = serde_json::to_vec(&record).unwrap_or_default();
    assert_eq!(serde_json::from_slice::<Record>(&written).ok().as_ref(), Some(&record));
    if let Some(Ok(cgroup)) = record.cgroup.as_ref().map(Cgroup::reopen) {
        below_its_hierarchy(&cgroup);
    }
}

/// A packet between init and its parent: its tag, whether a descriptor comes with it, and its text.
pub fn protocol(packet: &[u8]) {
    let [tag, descriptor, text @ ..] = packet else { return };
    let open = || rustix::fs::open("/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
    let descriptor = if descriptor % 2 == 1 { open() } else { None };
    protocol::check(*tag, text, descriptor);
}

fn layout() -> Option<&'static Layout> {
    static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();
    LAYOUT.get_or_init(|| Layout::detect(Path::new("/sys/fs/cgroup")).ok()).as_ref()
}

fn below_its_hierarchy(cgroup: &Cgroup) {
    for (_, path) in cgroup.directories() {
        assert!(path.components().all(|part| part != Component::ParentDir), "{path:?}");
    }
}
