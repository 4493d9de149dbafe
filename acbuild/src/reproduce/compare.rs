//! Two image files side by side.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::Path;

use appc_image::Quiet;
use appc_image::archive::{Kind, Ownership, UnpackOptions, unpack};
use appc_image::render::{Change, Difference, Rules, diff_trees};
use appc_rooted::Root;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// An image that a script wrote, in both runs or in one.
#[derive(Debug)]
pub(crate) struct Compared {
    /// The name of the file.
    name: String,
    /// The image IDs; none where the run wrote no such file.
    ids: [Option<String>; 2],
    /// Fields of the manifest with their values.
    fields: Vec<Field>,
    /// Files in the image.
    paths: Vec<Difference>,
}

#[derive(Debug, PartialEq)]
struct Field {
    path: String,
    values: [Option<Value>; 2],
}

/// An image, unpacked.
struct Image {
    id: String,
    manifest: Value,
    rootfs: Root,
}

/// Compares the images `name` below the two directories.
pub(super) fn images(first: &Path, second: &Path, name: &Path) -> Result<Compared> {
    let mut compared =
        Compared { name: name.display().to_string(), ids: [None, None], fields: Vec::new(), paths: Vec::new() };
    let (a, b) = (open(&first.join(name), "first")?, open(&second.join(name), "second")?);
    compared.ids = [a.as_ref().map(|image| image.id.clone()), b.as_ref().map(|image| image.id.clone())];
    if let (Some(a), Some(b)) = (a, b)
        && a.id != b.id
    {
        fields("", Some(&a.manifest), Some(&b.manifest), &mut compared.fields);
        compared.paths = diff_trees(&a.rootfs, &b.rootfs, Rules::Exact)?;
    }
    Ok(compared)
}

fn open(path: &Path, run: &str) -> Result<Option<Image>> {
    if !path.exists() {
        return Ok(None);
    }
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut place = path.as_os_str().to_owned();
    place.push(format!("-unpacked-{run}"));
    fs::create_dir(&place).map_err(Error::io("create", &place))?;
    let rootfs = Root::open(Path::new(&place)).map_err(Error::io("open", &place))?;
    let options =
        UnpackOptions { ownership: Ownership::of_this_process(), kind: Kind::Aci, ..UnpackOptions::default() };
    let unpacked = unpack(file, &rootfs, &options, &Quiet)?;
    let manifest = serde_json::from_slice(&unpacked.manifest)
        .map_err(|e| Error::Refused(format!("the manifest in {} is not JSON: {e}", path.display())))?;
    Ok(Some(Image { id: unpacked.image_id.to_string(), manifest, rootfs }))
}

/// Notes where two values differ, as deep in them as it goes.
fn fields(path: &str, a: Option<&Value>, b: Option<&Value>, found: &mut Vec<Field>) {
    match (a, b) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.for_each(|name| fields(&format!("{path}.{name}"), a.get(name), b.get(name), found));
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            (0..a.len().max(b.len())).for_each(|at| fields(&format!("{path}[{at}]"), a.get(at), b.get(at), found));
        }
        (a, b) => {
            let path = path.trim_start_matches('.').to_owned();
            found.push(Field { path, values: [a.cloned(), b.cloned()] });
        }
    }
}

impl Compared {
    /// Whether both runs wrote this image.
    pub(crate) fn is_same(&self) -> bool {
        self.ids[0].is_some() && self.ids[0] == self.ids[1]
    }

    /// Whether times are all that differs.
    pub(crate) fn is_only_times(&self) -> bool {
        let times = |difference: &Difference| match &difference.change {
            Change::Changed(what) => what.iter().all(|what| what.contains("time")),
            _ => false,
        };
        !self.is_same() && self.fields.is_empty() && !self.paths.is_empty() && self.paths.iter().all(times)
    }

    /// A line for each difference, or one that says that there is none.
    pub(crate) fn text(&self) -> String {
        let name = &self.name;
        match &self.ids {
            [Some(id), Some(_)] if self.is_same() => return format!("{name} is the same in both runs: {id}"),
            [Some(_), None] => return format!("{name} was written by the first run only"),
            [None, _] => return format!("{name} was written by the second run only"),
            _ => {}
        }
        let mut text = format!("{name} differs:");
        let mut line = |one: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{one}");
        };
        for Field { path, values } in &self.fields {
            match values {
                [Some(a), Some(b)] => line(format_args!("~ manifest {path}: {a}, then {b}")),
                [Some(a), None] => line(format_args!("- manifest {path}: {a}")),
                [None, b] => line(format_args!("+ manifest {path}: {}", b.as_ref().unwrap_or(&Value::Null))),
            }
        }
        for difference in &self.paths {
            let path = difference.path.to_string_lossy().escape_debug().to_string();
            match &difference.change {
                Change::Added => line(format_args!("+ {path}")),
                Change::Removed => line(format_args!("- {path}")),
                Change::Changed(what) => line(format_args!("~ {path} ({})", what.join(", "))),
            }
        }
        if self.fields.is_empty() && self.paths.is_empty() {
            line(format_args!(
                "~ the archive, in what shows in no file as it is unpacked here (owners show to root only)"
            ));
        }
        text
    }

    /// The same as data.
    pub(crate) fn json(&self) -> Value {
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|field| json!({"field": field.path, "first": field.values[0], "second": field.values[1]}))
            .collect();
        json!({"file": self.name, "same": self.is_same(), "ids": self.ids, "manifest": fields, "paths": self.paths})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_deep_as_they_differ() {
        let a = json!({"name": "a", "labels": [{"name": "os", "value": "linux"}], "app": {"user": "0"}, "gone": 1});
        let b = json!({"name": "a", "labels": [{"name": "os", "value": "x"}, 2], "app": "none", "new": null});
        let mut found = Vec::new();
        fields("", Some(&a), Some(&b), &mut found);
        let paths: Vec<_> = found.iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, ["labels[0].value", "labels[1]", "app", "gone", "new"]);
        assert_eq!(found[0].values, [Some(json!("linux")), Some(json!("x"))]);
        assert_eq!(found[1].values, [None, Some(json!(2))]);
    }
}
