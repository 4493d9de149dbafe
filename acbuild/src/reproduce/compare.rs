//! What two runs wrote, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use appc_image::Quiet;
use appc_image::archive::{Kind, Ownership, UnpackOptions, looks_like_aci, unpack};
use appc_image::render::{Change, Difference, Rules, diff_trees};
use appc_rooted::Root;
use serde_json::{Value, json};

use super::oci;
use crate::error::{Error, Result};

/// An image that a script wrote, in both runs or in one.
#[derive(Debug)]
pub(crate) struct Compared {
    /// The name of the file, and of the image if there are several in it.
    name: String,
    /// The image IDs, or digests of OCI images; none where the run wrote no such image.
    ids: [Option<String>; 2],
    /// Fields of the documents with their values.
    fields: Vec<Field>,
    /// Files in the image.
    paths: Vec<Difference>,
}

#[derive(Debug, PartialEq)]
struct Field {
    document: &'static str,
    path: String,
    values: [Option<Value>; 2],
}

/// An image, unpacked.
pub(super) struct Image {
    pub(super) id: String,
    /// What is said of it: the manifest, and the configuration of an OCI image.
    pub(super) documents: Vec<(&'static str, Value)>,
    pub(super) rootfs: Root,
}

/// Compares the images in `output` below the two directories.
pub(super) fn images(first: &Path, second: &Path, output: &Path) -> Result<Vec<Compared>> {
    let (mut a, mut b) = (open(&first.join(output), "first")?, open(&second.join(output), "second")?);
    let names: BTreeSet<String> = a.keys().chain(b.keys()).cloned().collect();
    let called = |name: &str| match names.len() {
        1 => output.display().to_string(),
        _ => format!("{} {name}", output.display()),
    };
    names.iter().map(|name| compare(called(name), a.remove(name), b.remove(name))).collect()
}

fn compare(name: String, a: Option<Image>, b: Option<Image>) -> Result<Compared> {
    let ids = [a.as_ref().map(|image| image.id.clone()), b.as_ref().map(|image| image.id.clone())];
    let mut compared = Compared { name, ids, fields: Vec::new(), paths: Vec::new() };
    if let (Some(a), Some(b)) = (a, b)
        && a.id != b.id
    {
        for ((document, a), (_, b)) in a.documents.iter().zip(&b.documents) {
            fields(document, "", Some(a), Some(b), &mut compared.fields);
        }
        compared.paths = diff_trees(&a.rootfs, &b.rootfs, Rules::Exact)?;
    }
    Ok(compared)
}

/// The images in a file or directory that a run may have written, by their names in it.
fn open(path: &Path, run: &str) -> Result<BTreeMap<String, Image>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let mut place = path.as_os_str().to_owned();
    place.push(format!("-unpacked-{run}"));
    let place = PathBuf::from(place);
    fs::create_dir(&place).map_err(Error::io("create", &place))?;
    let is_aci = path.is_file() && looks_like_aci(File::open(path).map_err(Error::io("read", path))?).unwrap_or(false);
    match is_aci {
        true => Ok(BTreeMap::from([(String::new(), aci(path, &place)?)])),
        false => oci::open(path, &place),
    }
}

fn aci(path: &Path, place: &Path) -> Result<Image> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let rootfs = Root::open(place).map_err(Error::io("open", place))?;
    let options =
        UnpackOptions { ownership: Ownership::of_this_process(), kind: Kind::Aci, ..UnpackOptions::default() };
    let unpacked = unpack(file, &rootfs, &options, &Quiet)?;
    let documents = vec![("manifest", read_json("manifest", path, &unpacked.manifest)?)];
    Ok(Image { id: unpacked.image_id.to_string(), documents, rootfs })
}

/// A document of the image in `path`.
pub(super) fn read_json(document: &str, path: &Path, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::Refused(format!("the {document} in {} is not JSON: {e}", path.display())))
}

/// Notes where two values differ, as deep in them as it goes.
fn fields(document: &'static str, path: &str, a: Option<&Value>, b: Option<&Value>, found: &mut Vec<Field>) {
    match (a, b) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.for_each(|name| fields(document, &format!("{path}.{name}"), a.get(name), b.get(name), found));
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                fields(document, &format!("{path}[{at}]"), a.get(at), b.get(at), found);
            }
        }
        (a, b) => {
            let path = path.trim_start_matches('.').to_owned();
            found.push(Field { document, path, values: [a.cloned(), b.cloned()] });
        }
    }
}

impl Field {
    /// Whether it is a time, or differs wherever one does: a digest and what goes with it.
    fn is_of_times(&self) -> bool {
        let last = self.path.rsplit('.').next().unwrap_or_default();
        let last = last.split('[').next().unwrap_or_default();
        matches!(last, "created" | "digest" | "size" | "diff_ids")
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
        let said = self.fields.iter().all(Field::is_of_times);
        !self.is_same() && said && !(self.fields.is_empty() && self.paths.is_empty()) && self.paths.iter().all(times)
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
        for Field { document, path, values } in &self.fields {
            match values {
                [Some(a), Some(b)] => line(format_args!("~ {document} {path}: {a}, then {b}")),
                [Some(a), None] => line(format_args!("- {document} {path}: {a}")),
                [None, b] => line(format_args!("+ {document} {path}: {}", b.as_ref().unwrap_or(&Value::Null))),
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
        let fields = |document: &str| -> Value {
            let fields = self.fields.iter().filter(|field| field.document == document);
            fields.map(|f| json!({"field": f.path, "first": f.values[0], "second": f.values[1]})).collect()
        };
        json!({
            "file": self.name,
            "same": self.is_same(),
            "ids": self.ids,
            "manifest": fields("manifest"),
            "config": fields("config"),
            "paths": self.paths,
        })
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
        fields("manifest", "", Some(&a), Some(&b), &mut found);
        let paths: Vec<_> = found.iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, ["labels[0].value", "labels[1]", "app", "gone", "new"]);
        assert_eq!(found[0].values, [Some(json!("linux")), Some(json!("x"))]);
        assert_eq!(found[1].values, [None, Some(json!(2))]);
    }
}
