//! What the reference says that commands do to a manifest: of lists, what is replaced where it stands and what goes to the
//! end; of removals, what they match; of all, the exit code. Nothing here is shared with the program.

mod app;
mod lists;

use serde_json::{Value, json};

use app::App;
use lists::{Pairs, drop_from, pairs, put, remove, set};

pub const IMAGE_ID_FLAG: &str = "--image-id=sha512-00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The files that commands are given.
pub const FILES: [(&str, &str); 4] = [
    ("memory.json", r#"{"limit": "1G"}"#),
    ("true.json", "true"),
    ("text.json", "no json"),
    ("good.json", r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/new"}"#),
];

#[derive(Debug, Clone, Default)]
pub struct Model {
    name: String,
    labels: Pairs,
    app: Option<App>,
    annotations: Pairs,
    dependencies: Vec<Value>,
}

/// The exit code of what fails.
type Outcome = Result<(), i32>;

const FAILED: i32 = 1;
const NOT_THERE: i32 = 2;
const NOT_UNDERSTOOD: i32 = 3;

impl Model {
    /// After `begin`, on this machine.
    pub fn new() -> Model {
        let arch = if cfg!(target_arch = "aarch64") { "aarch64" } else { "amd64" };
        let labels = [("arch", arch), ("os", "linux")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        Model { name: "acbuild-unnamed".to_owned(), labels: labels.to_vec(), ..Model::default() }
    }

    /// What the command does, and its exit code.
    pub fn apply(&mut self, words: &[String]) -> i32 {
        let silent = words[0] == "--no-history";
        let words: Vec<&str> = words.iter().skip(usize::from(silent)).map(String::as_str).collect();
        let mut next = self.clone();
        match next.command(&words) {
            Err(code) => code,
            Ok(()) => {
                if !silent {
                    next.record(&words);
                }
                *self = next;
                0
            }
        }
    }

    fn command(&mut self, words: &[&str]) -> Outcome {
        let (arguments, flags): (Vec<&str>, Vec<&str>) = match words[0] {
            "set-exec" => (words.to_vec(), Vec::new()),
            _ => words.iter().partition(|word| !word.starts_with("--")),
        };
        if flags.contains(&"--nope") {
            return Err(NOT_UNDERSTOOD);
        }
        match (full(arguments[0]), &arguments[1..]) {
            ("frobnicate" | "set-", _) => Err(NOT_UNDERSTOOD),
            ("label" | "port" | "mount", ["add", _]) => Err(FAILED),
            ("set-name", [name]) => identifier(name).map(|()| self.name = (*name).to_owned()),
            ("label", ["add", name, value]) => self.set_label(name, value),
            ("set-tag", [value]) => self.set_label("version", value),
            ("label", [_, name]) => {
                identifier(name).and_then(|()| remove(&mut self.labels, name)).and_then(|()| self.os_arch())
            }
            ("annotation", ["add", name, value]) => self.annotate(name, value),
            ("annotation", [_, name]) => identifier(name).and_then(|()| remove(&mut self.annotations, name)),
            ("dependency", ["add", image]) => self.depend(image, &flags),
            ("dependency", [_, name]) => {
                identifier(name)?;
                drop_from(&mut self.dependencies, |one| one["imageName"] == **name)
            }
            ("replace-manifest", [file]) => match *file {
                "good.json" => {
                    *self = Model { name: "example.com/new".to_owned(), ..Model::default() };
                    Ok(())
                }
                _ => Err(FAILED),
            },
            (command, arguments) => self.app.get_or_insert_with(App::new).command(command, arguments, &flags),
        }
    }

    /// An existing label goes, the new one comes last.
    fn set_label(&mut self, name: &str, value: &str) -> Outcome {
        identifier(name)?;
        if name == "name" {
            return Err(FAILED);
        }
        let _absent = remove(&mut self.labels, name);
        self.labels.push((name.to_owned(), value.to_owned()));
        self.os_arch()
    }

    /// The architecture must be one of the system's; without a system it may be any.
    fn os_arch(&self) -> Outcome {
        let label = |name| self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str());
        match (label("os"), label("arch")) {
            (None, _) | (Some("linux"), None | Some("amd64" | "aarch64")) | (Some("freebsd"), None | Some("amd64")) => {
                Ok(())
            }
            _ => Err(FAILED),
        }
    }

    fn annotate(&mut self, name: &str, value: &str) -> Outcome {
        identifier(name)?;
        match (name, value) {
            ("created", "2020-02-03T04:05:06Z") | ("homepage" | "documentation", "https://example.com") => {}
            ("created" | "homepage" | "documentation", _) => return Err(FAILED),
            _ => {}
        }
        set(&mut self.annotations, name, value);
        Ok(())
    }

    /// Labels of flags come before those in the name, each only once; the dependency goes to the end.
    fn depend(&mut self, image: &str, flags: &[&str]) -> Outcome {
        let (name, in_name): (&str, &[(&str, &str)]) = match image {
            "example.com/a" => (image, &[]),
            "example.com/a:1" => ("example.com/a", &[("version", "1")]),
            "example.com/b:2,tier=db" => ("example.com/b", &[("version", "2"), ("tier", "db")]),
            _ => return Err(FAILED),
        };
        let typed = flags.iter().filter_map(|flag| flag.strip_prefix("--label=")?.split_once('='));
        let mut labels: Vec<(&str, &str)> = Vec::new();
        for label in typed.chain(in_name.iter().copied()) {
            if labels.iter().any(|(known, _)| *known == label.0) {
                return Err(FAILED);
            }
            labels.push(label);
        }
        let mut dependency = json!({ "imageName": name });
        if flags.contains(&IMAGE_ID_FLAG) {
            dependency["imageID"] = IMAGE_ID_FLAG.trim_start_matches("--image-id=").into();
        }
        if !labels.is_empty() {
            dependency["labels"] = labels.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        }
        if flags.contains(&"--size=3") {
            dependency["size"] = 3.into();
        }
        self.dependencies.retain(|one| one["imageName"] != name);
        self.dependencies.push(dependency);
        Ok(())
    }

    /// The highest number and one, behind everything; flags are not in it.
    fn record(&mut self, words: &[&str]) {
        const PREFIX: &str = "coreos.com/acbuild/command-";
        let numbers = self.annotations.iter().filter_map(|(name, _)| name.strip_prefix(PREFIX)?.parse::<u64>().ok());
        let number = numbers.max().unwrap_or(0) + 1;
        let names = if ["add", "remove", "rm", "pre-start", "post-stop"].contains(&words[1]) { 2 } else { 1 };
        let mut line = "acbuild".to_owned();
        words[..names].iter().for_each(|word| line += &format!(" {}", full(word)));
        let is_flag = |word: &str| if words[0] == "set-exec" { word == "--" } else { word.starts_with("--") };
        for word in words[names..].iter().filter(|word| !is_flag(word)) {
            line += &format!(" \"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
        }
        set(&mut self.annotations, &format!("{PREFIX}{number}"), &line);
    }

    /// The file, to the byte.
    pub fn manifest(&self) -> String {
        let mut all = json!({"acKind": "ImageManifest", "acVersion": "0.8.11", "name": self.name});
        let object = all.as_object_mut().unwrap();
        put(object, "labels", pairs(&self.labels));
        if let Some(app) = &self.app {
            object.insert("app".to_owned(), app.json());
        }
        put(object, "annotations", pairs(&self.annotations));
        put(object, "dependencies", self.dependencies.clone());
        all.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

/// The name of what was typed.
fn full(word: &str) -> &str {
    let short =
        [("lab", "label"), ("anno", "annotation"), ("env", "environment"), ("dep", "dependency"), ("volume", "mount")];
    let more =
        [("iso", "isolator"), ("set-wd", "set-working-directory"), ("set-eh", "set-event-handler"), ("rm", "remove")];
    short.iter().chain(&more).find(|(typed, _)| *typed == word).map_or(word, |(_, name)| name)
}

/// Of the names that the commands are given, the one that is none is `Bad_`; image names have no version or scheme.
fn identifier(name: &str) -> Outcome {
    if name.is_empty() || name == "Bad_" || name.contains(':') { Err(FAILED) } else { Ok(()) }
}
