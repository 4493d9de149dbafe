//! Other limits for a cgroup that exists.

use std::path::Path;

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::apply::write_all;
use super::layout::{Hierarchy, Layout};
use super::live::{Cgroup, Place};
use super::plan::{Planner, Write};
use super::tree::Dir;
use super::{Error, Result};

impl Cgroup {
    /// Sets the limits that `resources` names; the others stay, and so does what is said about devices.
    ///
    /// # Errors
    /// Names the field that the kernel refuses; then the limits are as before.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        let layout = self.layout()?;
        let mut resources = resources.clone();
        self.complete(&mut resources)?;
        let mut planner = Planner { layout: &layout, inner: Path::new(""), absolute: true, groups: Vec::new() };
        planner.controllers(&resources).map_err(|e| self.why_without(e))?;
        planner.unified(&resources)?;
        if let Some(unit) = &self.unit {
            unit.set_limits(&planner.groups)?;
        }
        let mut done = Vec::new();
        for group in &planner.groups {
            // Each hierarchy of the layout is one of our places.
            let Some(place) = self.places.iter().find(|p| p.mount == group.mount) else { continue };
            let dir = place.dir().map_err(|e| Error::io("open", place.full(), e))?;
            let before = group.writes.iter().filter_map(|write| current(&dir, write)).collect();
            done.push((dir, before));
            let Some((dir, _)) = done.last() else { continue };
            if let Err(e) = write_all(dir, &group.writes) {
                restore(&done);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Version 2: whether a controller is here is up to the cgroups above.
    fn why_without(&self, error: Error) -> Error {
        match (error, self.places.iter().find(|p| p.is_unified())) {
            (Error::NoController { field, controller }, Some(place)) => {
                let name = if controller == "blkio" { "io" } else { controller };
                let path = place.full();
                let rule = format!("the {name} controller is not enabled for {}: enable it above", path.display());
                Error::invalid(field, rule)
            }
            (other, _) => other,
        }
    }

    /// The hierarchies it is in, with the controllers that it has itself.
    fn layout(&self) -> Result<Layout> {
        let mut layout = Layout { version: self.version(), v1: Vec::new(), unified: None };
        for place in &self.places {
            let (mount, own) = (place.mount.clone(), place.path.clone());
            if !place.is_unified() {
                layout.v1.push(Hierarchy { controllers: place.controllers.clone(), mount, own });
                continue;
            }
            let read = place.dir().and_then(|dir| dir.read("cgroup.controllers"));
            let text = read.map_err(|e| Error::io("read the controllers of", place.full(), e))?;
            let controllers = text.split_whitespace().map(str::to_owned).collect();
            layout.unified = Some(Hierarchy { controllers, mount, own });
        }
        Ok(layout)
    }

    /// Version 2 has some pairs of limits in one file, or one in terms of the other: a missing half is what it is now.
    fn complete(&self, resources: &mut LinuxResources) -> Result<()> {
        let Some(unified) = self.places.iter().find(|p| p.is_unified()) else { return Ok(()) };
        let v1 = |name: &str| self.places.iter().any(|p| p.controllers.iter().any(|c| c == name));
        let read = |file| read_word(unified, file);
        if let Some(cpu) = resources.cpu_mut().as_mut().filter(|_| !v1("cpu")) {
            complete_cpu(cpu, || read("cpu.max"));
        }
        if let Some(memory) = resources.memory_mut().as_mut().filter(|_| !v1("memory")) {
            let given = |value: Option<i64>| value.is_some_and(|v| v != 0);
            if given(memory.swap()) && memory.swap() != Some(-1) && !given(memory.limit()) {
                let limit = read("memory.max").and_then(|now| now.trim().parse().ok());
                memory.set_limit(limit);
            }
        }
        Ok(())
    }
}

/// `quota period`, or `max period`.
fn complete_cpu(cpu: &mut LinuxCpu, now: impl FnOnce() -> Option<String>) {
    let quota = cpu.quota().filter(|&q| q != 0);
    let period = cpu.period().filter(|&p| p != 0);
    if quota.is_some() == period.is_some() {
        return;
    }
    let Some(now) = now() else { return };
    let mut words = now.split_whitespace();
    let (old_quota, old_period) =
        (words.next().and_then(|w| w.parse().ok()), words.next().and_then(|w| w.parse().ok()));
    cpu.set_quota(quota.or(old_quota));
    cpu.set_period(period.or(old_period));
}

fn read_word(place: &Place, file: &str) -> Option<String> {
    place.dir().ok()?.read(file).ok()
}

/// What a file has now, as the write that would restore it. Only for files of a single value.
fn current(dir: &Dir, write: &Write) -> Option<Write> {
    let file = match &write.otherwise {
        Some((other, _)) if dir.read(&write.file).is_err() => other,
        _ => &write.file,
    };
    let text = dir.read(file).ok()?;
    let value = text.trim();
    let single = !value.is_empty() && !value.contains('\n') && !value.contains(':') && !value.starts_with("default");
    single.then(|| Write {
        value: value.to_owned(),
        file: file.clone(),
        otherwise: None,
        not_below: None,
        ..write.clone()
    })
}

/// As far as the kernel lets us: the failure that led here is the one to tell.
fn restore(done: &[(Dir, Vec<Write>)]) {
    for (dir, before) in done.iter().rev() {
        let _kept = write_all(dir, before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(quota: Option<i64>, period: Option<u64>, now: &str) -> (Option<i64>, Option<u64>) {
        let mut cpu = LinuxCpu::default();
        cpu.set_quota(quota);
        cpu.set_period(period);
        complete_cpu(&mut cpu, || Some(now.to_owned()));
        (cpu.quota(), cpu.period())
    }

    #[test]
    fn a_quota_keeps_its_period_and_a_period_its_quota() {
        assert_eq!(completed(Some(5), None, "max 7000\n"), (Some(5), Some(7000)));
        assert_eq!(completed(None, Some(5000), "300 7000\n"), (Some(300), Some(5000)));
        assert_eq!(completed(None, Some(5000), "max 7000\n"), (None, Some(5000)));
        assert_eq!(completed(None, None, "300 7000\n"), (None, None));
        assert_eq!(completed(Some(1), Some(2), "300 7000\n"), (Some(1), Some(2)));
    }
}
