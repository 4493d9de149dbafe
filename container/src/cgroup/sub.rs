//! Cgroups that a container made below its own.

use std::path::{Component, Path, PathBuf};

use super::live::Saved;
use super::{Error, Result};

impl Saved {
    /// The cgroup below this one that `paths` name: `PATH`, or `CONTROLLER[,CONTROLLER]:PATH` for each hierarchy.
    ///
    /// # Errors
    /// When a path leads out, or a controller has no hierarchy of its own or several paths.
    pub fn below(mut self, paths: &[String]) -> Result<Saved> {
        let invalid = |rule: String| Error::invalid("--cgroup", rule);
        let mut named: Vec<&str> = Vec::new();
        let mut moved: Vec<usize> = Vec::new();
        for argument in paths {
            let Some((controllers, path)) = argument.split_once(':') else {
                if paths.len() > 1 {
                    return Err(invalid(format!("{argument}: missing <controller>: prefix")));
                }
                let path = inside(argument)?;
                self.places.iter_mut().for_each(|place| place.path.push(&path));
                return Ok(self);
            };
            let path = inside(path)?;
            for controller in controllers.split(',') {
                if named.contains(&controller) {
                    return Err(invalid(format!("controller {controller} specified multiple times")));
                }
                named.push(controller);
                let at = self.places.iter().position(|p| p.controllers.iter().any(|c| c == controller));
                let at = at.ok_or_else(|| invalid(format!("unknown controller {controller}")))?;
                // Controllers of one hierarchy can only go together.
                if !moved.contains(&at) {
                    moved.push(at);
                    self.places[at].path.push(&path);
                }
            }
        }
        Ok(self)
    }
}

/// By name: what is no name is refused.
fn inside(path: &str) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::invalid("--cgroup", format!("bad sub cgroup path: {path}")));
            }
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        serde_json::from_str(
            r#"{"places": [{"controllers": [], "mount": "/u", "path": "a"},
                {"controllers": ["cpu", "cpuacct"], "mount": "/c", "path": "a"},
                {"controllers": ["pids"], "mount": "/p", "path": "a"}]}"#,
        )
        .unwrap()
    }

    fn below(paths: &[&str]) -> Result<Vec<String>, String> {
        let paths: Vec<String> = paths.iter().map(|&p| p.to_owned()).collect();
        let saved = saved().below(&paths).map_err(|e| e.to_string())?;
        Ok(saved.places.iter().map(|p| p.path.display().to_string()).collect())
    }

    #[test]
    fn one_path_is_for_all() {
        assert_eq!(below(&["/b/./c"]).unwrap(), ["a/b/c"; 3]);
        assert_eq!(below(&[]).unwrap(), ["a"; 3]);
        assert_eq!(below(&["cpu,cpuacct:b", "pids:c"]).unwrap(), ["a", "a/b", "a/c"]);
    }

    #[test]
    fn nothing_leads_out() {
        for (paths, rule) in [
            (&["../a"][..], "bad sub cgroup path"),
            (&["pids:x/../../y"], "bad sub cgroup path"),
            (&["pids:a", "pids:b"], "specified multiple times"),
            (&["a", "pids:b"], "missing <controller>: prefix"),
            (&["nonesuch:b"], "unknown controller nonesuch"),
            (&[":b"], "unknown controller "),
        ] {
            assert!(below(paths).unwrap_err().contains(rule), "{paths:?}");
        }
    }
}
