//! What the reference says that commands do to the part of a manifest that describes the process to run.

use serde_json::{Map, Value, json};

use super::lists::{Pairs, drop_from, pairs, put, remove, set};
use super::{FAILED, Outcome, identifier};

#[derive(Debug, Clone, Default)]
pub(super) struct App {
    exec: Vec<String>,
    handlers: Vec<Value>,
    user: String,
    group: String,
    gids: Vec<u32>,
    directory: Option<String>,
    environment: Pairs,
    mounts: Vec<Value>,
    ports: Vec<Value>,
    isolators: Vec<Value>,
}

impl App {
    /// What is there as soon as anything is said of the process.
    pub(super) fn new() -> App {
        App { user: "0".to_owned(), group: "0".to_owned(), ..App::default() }
    }

    pub(super) fn command(&mut self, command: &str, arguments: &[&str], flags: &[&str]) -> Outcome {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match (command, arguments) {
            ("set-exec", ["--", exec @ ..]) => self.exec = owned(exec),
            ("set-user", [user]) if !user.is_empty() => self.user = (*user).to_owned(),
            ("set-group", [group]) if !group.is_empty() => self.group = (*group).to_owned(),
            ("set-supp-groups", groups) => {
                self.gids = groups.iter().map(|group| group.parse().map_err(|_| FAILED)).collect::<Result<_, _>>()?;
            }
            ("set-working-directory", [path]) if path.starts_with('/') => self.directory = Some((*path).to_owned()),
            ("set-event-handler", [event, exec @ ..]) => {
                self.handlers.retain(|handler| handler["name"] != **event);
                self.handlers.push(json!({"name": event, "exec": exec}));
            }
            ("environment", ["add", name, value]) => match *name {
                "1A" | "A B" => return Err(FAILED),
                _ => set(&mut self.environment, name, value),
            },
            ("environment", [_, name]) => return remove(&mut self.environment, name),
            ("port", ["add", name, protocol, port]) => return self.port(name, protocol, port, flags),
            ("port", [_, "80/tcp"]) => return Err(FAILED),
            ("port", [_, name]) => return drop_from(&mut self.ports, |one| is_port(one, name)),
            ("mount", ["add", name, path]) => {
                ac_name(name)?;
                self.mounts.retain(|one| one["name"] != **name && one["path"] != **path);
                let mut mount = json!({"name": name, "path": path});
                if flags.contains(&"--read-only") {
                    mount["readOnly"] = true.into();
                }
                self.mounts.push(mount);
            }
            ("mount", [_, name]) => {
                return drop_from(&mut self.mounts, |one| one["name"] == **name || one["path"] == **name);
            }
            ("isolator", ["add", name, file]) => {
                let value = match (*name, *file) {
                    ("resource/memory", "memory.json") => json!({"limit": "1G"}),
                    ("os/linux/no-new-privileges", "true.json") => json!(true),
                    _ => return Err(FAILED),
                };
                self.isolators.retain(|one| one["name"] != **name);
                self.isolators.push(json!({"name": name, "value": value}));
            }
            ("isolator", [_, name]) => {
                identifier(name)?;
                return drop_from(&mut self.isolators, |one| one["name"] == **name);
            }
            _ => return Err(FAILED),
        }
        Ok(())
    }

    /// A port of that name, or whose number is that name, goes; the new one comes last.
    fn port(&mut self, name: &str, protocol: &str, port: &str, flags: &[&str]) -> Outcome {
        ac_name(name)?;
        let number = port.parse::<u32>().ok().filter(|number| (1..=65535).contains(number)).ok_or(FAILED)?;
        self.ports.retain(|one| !is_port(one, name));
        let count = if flags.contains(&"--count=3") { 3 } else { 1 };
        let activated = flags.contains(&"--socket-activated");
        self.ports.push(
            json!({"name": name, "protocol": protocol, "port": number, "count": count, "socketActivated": activated}),
        );
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let mut app = Map::new();
        app.insert("exec".to_owned(), if self.exec.is_empty() { Value::Null } else { json!(self.exec) });
        put(&mut app, "eventHandlers", self.handlers.clone());
        app.insert("user".to_owned(), json!(self.user));
        app.insert("group".to_owned(), json!(self.group));
        put(&mut app, "supplementaryGIDs", self.gids.iter().map(|gid| json!(gid)).collect());
        if let Some(directory) = &self.directory {
            app.insert("workingDirectory".to_owned(), json!(directory));
        }
        put(&mut app, "environment", pairs(&self.environment));
        put(&mut app, "mountPoints", self.mounts.clone());
        put(&mut app, "ports", self.ports.clone());
        put(&mut app, "isolators", self.isolators.clone());
        Value::Object(app)
    }
}

fn ac_name(name: &str) -> Outcome {
    if name == "Bad_" { Err(FAILED) } else { Ok(()) }
}

fn is_port(port: &Value, name: &str) -> bool {
    port["name"] == *name || port["port"].as_u64().is_some_and(|number| number.to_string() == name)
}
