//! Lists of a manifest: what is replaced where it stands, what removals match, and that empty ones are not there.

use serde_json::{Map, Value, json};

use super::{NOT_THERE, Outcome};

/// Names and values.
pub(super) type Pairs = Vec<(String, String)>;

/// Where it stands, or at the end.
pub(super) fn set(list: &mut Pairs, name: &str, value: &str) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value.to_owned(),
        None => list.push((name.to_owned(), value.to_owned())),
    }
}

pub(super) fn remove(list: &mut Pairs, name: &str) -> Outcome {
    drop_from(list, |(known, _)| known == name)
}

pub(super) fn drop_from<T>(list: &mut Vec<T>, is_meant: impl Fn(&T) -> bool) -> Outcome {
    let before = list.len();
    list.retain(|one| !is_meant(one));
    if list.len() < before { Ok(()) } else { Err(NOT_THERE) }
}

pub(super) fn pairs(list: &Pairs) -> Vec<Value> {
    list.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

pub(super) fn put(object: &mut Map<String, Value>, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object.insert(name.to_owned(), list.into());
    }
}
