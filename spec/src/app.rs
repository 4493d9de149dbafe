//! The app of an image or a pod: what runs, as whom, with what.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::environment::Environment;
use crate::error::{Error, Place};
use crate::isolator::Isolators;
use crate::json::{Fields, Map, Object, Read, Write};
use crate::mount_point::MountPoint;
use crate::port::Port;

/// The parameters an image is executed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Executable and arguments; may be empty, which is printed as `null`.
    pub exec: Vec<String>,
    /// What runs before and after, at most one for each event.
    pub event_handlers: Vec<EventHandler>,
    /// Name, number, or absolute path of a file whose owner is meant.
    pub user: String,
    /// Name, number, or absolute path of a file whose group is meant.
    pub group: String,
    /// Further groups.
    pub supplementary_gids: Vec<u32>,
    /// Absolute path; `/` when absent.
    pub working_directory: Option<String>,
    /// Variables, in order.
    pub environment: Environment,
    /// Where outside data is expected.
    pub mount_points: Vec<MountPoint>,
    /// What is listened on.
    pub ports: Vec<Port>,
    /// Limits and restrictions.
    pub isolators: Isolators,
    /// Notes of users, without meaning here.
    pub user_annotations: BTreeMap<String, String>,
    /// Notes of users, without meaning here.
    pub user_labels: BTreeMap<String, String>,
    /// Unknown fields.
    pub extra: Map,
}

impl App {
    /// An app that runs nothing yet, as user and group 0.
    pub fn new() -> App {
        App {
            exec: Vec::new(),
            event_handlers: Vec::new(),
            user: "0".to_owned(),
            group: "0".to_owned(),
            supplementary_gids: Vec::new(),
            working_directory: None,
            environment: Environment::new(),
            mount_points: Vec::new(),
            ports: Vec::new(),
            isolators: Isolators::new(),
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Checks the rules of the specification.
    ///
    /// # Errors
    /// The first rule that is broken, with its place in the app.
    pub fn validate(&self) -> Result<(), Error> {
        if self.user.is_empty() {
            return Err(Error::new("user is required")).in_field("user");
        }
        if self.group.is_empty() {
            return Err(Error::new("group is required")).in_field("group");
        }
        if let Some(directory) = self.working_directory.as_ref().filter(|directory| !directory.starts_with('/')) {
            let rule = format!("workingDirectory must be an absolute path, found {directory:?}");
            return Err(Error::new(rule)).in_field("workingDirectory");
        }
        let mut events = HashSet::new();
        if let Some(at) = self.event_handlers.iter().position(|handler| !events.insert(handler.name)) {
            let name = self.event_handlers[at].name;
            let rule = format!("Only one eventHandler of name \"{name}\" allowed");
            return Err(Error::new(rule)).in_field("name").at(at).in_field("eventHandlers");
        }
        self.environment.validate().in_field("environment")?;
        for (at, mount_point) in self.mount_points.iter().enumerate() {
            mount_point.validate().at(at).in_field("mountPoints")?;
        }
        for (at, port) in self.ports.iter().enumerate() {
            port.validate().at(at).in_field("ports")?;
        }
        self.isolators.validate().in_field("isolators")
    }
}

impl Default for App {
    fn default() -> App {
        App::new()
    }
}

impl Read for App {
    fn read(value: Value) -> Result<App, Error> {
        let mut fields = Fields::of(value)?;
        Ok(App {
            exec: fields.take_or_default("exec")?,
            event_handlers: fields.take_or_default("eventHandlers")?,
            user: fields.take_or_default("user")?,
            group: fields.take_or_default("group")?,
            supplementary_gids: fields.take_or_default("supplementaryGIDs")?,
            working_directory: fields.take("workingDirectory")?.filter(|directory: &String| !directory.is_empty()),
            environment: fields.take_or_default("environment")?,
            mount_points: fields.take_or_default("mountPoints")?,
            ports: fields.take_or_default("ports")?,
            isolators: fields.take_or_default("isolators")?,
            user_annotations: fields.take_or_default("userAnnotations")?,
            user_labels: fields.take_or_default("userLabels")?,
            extra: fields.rest(),
        })
    }
}

impl Write for App {
    fn write(&self) -> Value {
        Object::new()
            .put("exec", &exec(&self.exec))
            .put_unless_empty("eventHandlers", &self.event_handlers[..])
            .put("user", &self.user)
            .put("group", &self.group)
            .put_unless_empty("supplementaryGIDs", &self.supplementary_gids[..])
            .put_if_some("workingDirectory", &self.working_directory)
            .put_unless_empty("environment", &self.environment)
            .put_unless_empty("mountPoints", &self.mount_points[..])
            .put_unless_empty("ports", &self.ports[..])
            .put_unless_empty("isolators", &self.isolators)
            .put_unless_empty("userAnnotations", &self.user_annotations)
            .put_unless_empty("userLabels", &self.user_labels)
            .with(&self.extra)
    }
}

/// A command line; `null` rather than `[]` when empty.
fn exec(words: &[String]) -> Value {
    if words.is_empty() { Value::Null } else { words.write() }
}

/// When an event handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventName {
    /// Before the app, which waits for its end.
    PreStart,
    /// After the app has ended.
    PostStop,
}

impl EventName {
    /// `pre-start` or `post-stop`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventName::PreStart => "pre-start",
            EventName::PostStop => "post-stop",
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventName {
    type Err = Error;

    fn from_str(text: &str) -> Result<EventName, Error> {
        match text {
            "pre-start" => Ok(EventName::PreStart),
            "post-stop" => Ok(EventName::PostStop),
            "" => Err(Error::new("eventHandler \"name\" cannot be empty")),
            _ => Err(Error::new(format!("bad eventHandler \"name\": {text:?} (must be pre-start or post-stop)"))),
        }
    }
}

impl Read for EventName {
    fn read(value: Value) -> Result<EventName, Error> {
        String::read(value)?.parse()
    }
}

/// What runs at an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHandler {
    /// The event.
    pub name: EventName,
    /// Executable and arguments.
    pub exec: Vec<String>,
    /// Unknown fields.
    pub extra: Map,
}

impl EventHandler {
    /// Runs `exec` at the event `name`.
    pub fn new(name: EventName, exec: Vec<String>) -> EventHandler {
        EventHandler { name, exec, extra: Map::new() }
    }
}

impl Read for EventHandler {
    fn read(value: Value) -> Result<EventHandler, Error> {
        let mut fields = Fields::of(value)?;
        Ok(EventHandler {
            name: fields.require("name", "eventHandler \"name\" cannot be empty")?,
            exec: fields.take_or_default("exec")?,
            extra: fields.rest(),
        })
    }
}

impl Write for EventHandler {
    fn write(&self) -> Value {
        Object::new().put("name", self.name.as_str()).put("exec", &exec(&self.exec)).with(&self.extra)
    }
}
