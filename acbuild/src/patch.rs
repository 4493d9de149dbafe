//! Changes to a manifest as the flags of `patch-manifest` say them.

use std::str::FromStr;

use appc_spec::{App, ImageManifest, MountPoint, Port};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

const RETAIN: &str = "os/linux/capabilities-retain-set";
const REMOVE: &str = "os/linux/capabilities-remove-set";
const SECCOMP_RETAIN: &str = "os/linux/seccomp-retain-set";
const SECCOMP_REMOVE: &str = "os/linux/seccomp-remove-set";

/// What to change. What is none, or empty, stays as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patch {
    pub(crate) name: Option<String>,
    /// The command line, its words separated by single spaces.
    pub(crate) exec: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) supplementary_groups: Vec<u32>,
    pub(crate) capabilities: Option<Capabilities>,
    /// Each in place of one of its name.
    pub(crate) mounts: Vec<MountPoint>,
    /// Each in place of one of its name.
    pub(crate) ports: Vec<Port>,
    /// Each in place of one of its name.
    pub(crate) isolators: Vec<Limit>,
    pub(crate) seccomp: Option<Seccomp>,
}

/// Which capabilities an app has.
#[derive(Debug, Clone)]
pub(crate) enum Capabilities {
    /// Exactly these.
    Retain(Vec<String>),
    /// The usual ones without these.
    Remove(Vec<String>),
}

/// Which system calls an app may make.
#[derive(Debug, Clone)]
pub(crate) struct Seccomp {
    pub(crate) mode: SeccompMode,
    pub(crate) set: Vec<String>,
}

/// `remove|retain[,errno=NAME]`
#[derive(Debug, Clone)]
pub(crate) struct SeccompMode {
    retain: bool,
    errno: Option<String>,
}

/// `resource/cpu,request=50m,limit=100m`, `os/linux/no-new-privileges,true` or `os/linux/oom-score-adj,N`
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    name: String,
    value: Value,
}

impl Patch {
    /// Changes `manifest`.
    ///
    /// # Errors
    /// When the manifest would break a rule, or has no app to change.
    pub(crate) fn apply(self, manifest: &mut ImageManifest) -> Result<()> {
        let about_app = self.is_about_app();
        if let Some(name) = &self.name {
            manifest.name = name.parse()?;
        }
        match (&mut manifest.app, self.exec.is_some()) {
            (Some(app), _) => self.apply_to(app),
            (None, true) => self.apply_to(manifest.app.insert(App::new())),
            (None, false) if about_app => {
                Err(Error::refused("no app in the supplied manifest and no exec command provided: give --exec, too"))
            }
            (None, false) => Ok(()),
        }
    }

    /// Whether it changes anything.
    pub(crate) fn is_any(&self) -> bool {
        self.name.is_some() || self.exec.is_some() || self.is_about_app()
    }

    fn is_about_app(&self) -> bool {
        self.user.is_some()
            || self.group.is_some()
            || !self.supplementary_groups.is_empty()
            || self.capabilities.is_some()
            || !self.mounts.is_empty()
            || !self.ports.is_empty()
            || !self.isolators.is_empty()
            || self.seccomp.is_some()
    }

    fn apply_to(self, app: &mut App) -> Result<()> {
        if let Some(exec) = self.exec {
            app.exec = exec.split(' ').map(str::to_owned).collect();
        }
        app.user = self.user.unwrap_or_else(|| std::mem::take(&mut app.user));
        app.group = self.group.unwrap_or_else(|| std::mem::take(&mut app.group));
        if !self.supplementary_groups.is_empty() {
            app.supplementary_gids = self.supplementary_groups;
        }
        for mount in self.mounts {
            app.mount_points.retain(|known| known.name != mount.name);
            app.mount_points.push(mount);
        }
        for port in self.ports {
            app.ports.retain(|known| known.name != port.name);
            app.ports.push(port);
        }
        for Limit { name, value } in self.isolators {
            app.isolators.set(name.parse()?, value)?;
        }
        if let Some(capabilities) = self.capabilities {
            let (name, set) = match capabilities {
                Capabilities::Retain(set) => (RETAIN, set),
                Capabilities::Remove(set) => (REMOVE, set),
            };
            replace(app, [RETAIN, REMOVE], name, json!({ "set": set }))?;
        }
        if let Some(Seccomp { mode: SeccompMode { retain, errno }, set }) = self.seccomp {
            let mut value = json!({ "set": set });
            if let Some(errno) = errno {
                value["errno"] = Value::String(errno);
            }
            let name = if retain { SECCOMP_RETAIN } else { SECCOMP_REMOVE };
            replace(app, [SECCOMP_RETAIN, SECCOMP_REMOVE], name, value)?;
        }
        Ok(())
    }
}

/// Sets an isolator of a kind of which there may be only one.
fn replace(app: &mut App, kind: [&str; 2], name: &str, value: Value) -> Result<()> {
    for other in kind {
        app.isolators.remove(other);
    }
    Ok(app.isolators.set(name.parse()?, value)?)
}

impl FromStr for SeccompMode {
    type Err = String;

    fn from_str(text: &str) -> Result<SeccompMode, String> {
        let (mode, rest) = text.split_once(',').map_or((text, None), |(mode, rest)| (mode, Some(rest)));
        let retain = match mode {
            "retain" => true,
            "remove" => false,
            _ => return Err("it must be retain or remove, with ,errno=NAME behind it or nothing".into()),
        };
        let errno = rest.map(|rest| rest.strip_prefix("errno=").filter(|errno| !errno.is_empty()));
        match errno {
            Some(None) => Err("behind the mode only ,errno=NAME may stand".into()),
            errno => Ok(SeccompMode { retain, errno: errno.flatten().map(str::to_owned) }),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        let (name, rest) = text.split_once(',').ok_or("a value must follow the name, as in resource/cpu,limit=100m")?;
        let value = match name {
            "os/linux/no-new-privileges" => Value::Bool(rest.parse().map_err(|_| "it must be true or false")?),
            "os/linux/oom-score-adj" => rest.parse::<i32>().map_err(|_| "it must be a number")?.into(),
            _ if name.starts_with("resource/") => Value::Object(resource(rest)?),
            _ => {
                return Err("it must be resource/..., os/linux/no-new-privileges or os/linux/oom-score-adj".into());
            }
        };
        Ok(Limit { name: name.to_owned(), value })
    }
}

/// `request=50m,limit=100m`
fn resource(text: &str) -> Result<Map<String, Value>, String> {
    let mut value = Map::new();
    for part in text.split(',') {
        let (key, amount) = part.split_once('=').ok_or_else(|| format!("no '=' character in {part:?}"))?;
        let amount = match key {
            "request" | "limit" => Value::String(amount.to_owned()),
            "default" => Value::Bool(amount.parse().map_err(|_| "default must be true or false")?),
            _ => return Err(format!("{key:?} is none of request, limit and default")),
        };
        value.insert(key.to_owned(), amount);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(app: &str) -> ImageManifest {
        let text = format!(r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x"{app}}}"#);
        ImageManifest::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_said_stays() {
        let app =
            r#","app":{"exec":["/a"],"user":"1","group":"2","ports":[{"name":"www","protocol":"tcp","port":80}]}"#;
        let mut patched = manifest(app);
        Patch::default().apply(&mut patched).unwrap();
        assert_eq!(patched, manifest(app));
        let ports = vec!["www,protocol=tcp,port=8080".parse().unwrap(), "dns,protocol=udp,port=53".parse().unwrap()];
        Patch { user: Some("0".into()), ports, ..Patch::default() }.apply(&mut patched).unwrap();
        let app = patched.app.unwrap();
        assert_eq!((app.user.as_str(), app.group.as_str()), ("0", "2"));
        let ports: Vec<_> = app.ports.iter().map(|port| (port.name.as_str(), port.port)).collect();
        assert_eq!(ports, [("www", 8080), ("dns", 53)]);
    }

    #[test]
    fn an_app_comes_into_being_with_its_command_only() {
        let mut patched = manifest("");
        let user = Patch { user: Some("0".into()), ..Patch::default() };
        assert!(
            user.clone().apply(&mut patched).unwrap_err().to_string().starts_with("no app in the supplied manifest")
        );
        Patch { exec: Some("/bin/sh -c  x".into()), ..user }.apply(&mut patched).unwrap();
        assert_eq!(patched.app.unwrap().exec, ["/bin/sh", "-c", "", "x"]);
    }

    #[test]
    fn of_opposite_isolators_the_new_one_stays() {
        let mut patched = manifest(r#","app":{"exec":["/a"],"user":"0","group":"0"}"#);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let capabilities = Some(Capabilities::Remove(words(&["CAP_KILL"])));
        Patch { capabilities, ..Patch::default() }.apply(&mut patched).unwrap();
        let capabilities = Some(Capabilities::Retain(words(&["CAP_KILL"])));
        let seccomp = Some(Seccomp { mode: "retain,errno=EPERM".parse().unwrap(), set: words(&["read"]) });
        Patch { capabilities, seccomp, ..Patch::default() }.apply(&mut patched).unwrap();
        let seccomp = Some(Seccomp { mode: "remove".parse().unwrap(), set: words(&["reboot"]) });
        let isolators = vec!["resource/cpu,request=50m,limit=100m".parse().unwrap()];
        Patch { seccomp, isolators, ..Patch::default() }.apply(&mut patched).unwrap();
        let isolators = patched.app.unwrap().isolators;
        let names: Vec<_> = isolators.iter().map(|one| format!("{} {}", one.name, one.value)).collect();
        let wanted = [
            r#"os/linux/capabilities-retain-set {"set":["CAP_KILL"]}"#,
            r#"resource/cpu {"request":"50m","limit":"100m"}"#,
            r#"os/linux/seccomp-remove-set {"set":["reboot"]}"#,
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in ["", "keep", "retain,", "retain,errno=", "remove,x"] {
            assert!(bad.parse::<SeccompMode>().is_err(), "{bad}");
        }
        let bad =
            ["resource/cpu", "resource/cpu,50m", "resource/cpu,most=1", "os/linux/no-new-privileges,maybe", "x,true"];
        for bad in bad {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
    }
}
