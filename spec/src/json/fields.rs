//! From JSON values to our types and back, one field at a time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Map;
use crate::error::{Error, Place};

/// What can be read from a JSON value. Checks the shape only; rules between fields are `validate`'s.
pub(crate) trait Read: Sized {
    fn read(value: Value) -> Result<Self, Error>;
}

/// What can be written as a JSON value.
pub(crate) trait Write {
    fn write(&self) -> Value;
}

/// An object being read: known fields are taken out of it, the rest stays.
pub(crate) struct Fields(Map);

impl Fields {
    pub(crate) fn of(value: Value) -> Result<Fields, Error> {
        match value {
            Value::Object(map) => Ok(Fields(map)),
            other => Err(wrong_type("an object", &other)),
        }
    }

    /// Takes the field out in whatever case it is spelt; the last spelling wins, `null` is as good as absent.
    pub(crate) fn take<T: Read>(&mut self, name: &str) -> Result<Option<T>, Error> {
        match self.take_value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::read(value).map(Some).in_field(name),
        }
    }

    /// As [`Fields::take`], where absence has a meaning of its own: empty, zero, false.
    pub(crate) fn take_or_default<T: Read + Default>(&mut self, name: &str) -> Result<T, Error> {
        Ok(self.take(name)?.unwrap_or_default())
    }

    /// As [`Fields::take`], where absence breaks `rule`.
    pub(crate) fn require<T: Read>(&mut self, name: &str, rule: &str) -> Result<T, Error> {
        self.take(name)?.ok_or_else(|| Error::new(rule).in_field(name))
    }

    /// The field's value as it stands, `null` included.
    pub(crate) fn take_value(&mut self, name: &str) -> Option<Value> {
        let mut found = None;
        // One pass: a hostile object may have every spelling of a long name.
        self.0.retain(|key, value| {
            let wanted = key.eq_ignore_ascii_case(name);
            if wanted {
                found = Some(value.take());
            }
            !wanted
        });
        found
    }

    /// What was not taken.
    pub(crate) fn rest(self) -> Map {
        self.0
    }
}

/// An object being written, field by field.
pub(crate) struct Object(Map);

impl Object {
    pub(crate) fn new() -> Object {
        Object(Map::new())
    }

    pub(crate) fn put(mut self, name: &str, value: &(impl Write + ?Sized)) -> Object {
        self.0.insert(name.to_owned(), value.write());
        self
    }

    /// Leaves out what Go's `omitempty` leaves out: nothing, `false`, 0, empty strings, lists and maps.
    pub(crate) fn put_unless_empty(self, name: &str, value: &(impl Write + ?Sized)) -> Object {
        let empty = match value.write() {
            Value::Null | Value::Bool(false) => true,
            Value::Bool(true) => false,
            Value::Number(n) => n.as_u64() == Some(0),
            Value::String(s) => s.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
        };
        if empty { self } else { self.put(name, value) }
    }

    /// Leaves out `None` only.
    pub(crate) fn put_if_some(self, name: &str, value: &Option<impl Write>) -> Object {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    /// Ends with the fields nobody knew when it was read.
    pub(crate) fn with(mut self, extra: &Map) -> Value {
        for (name, value) in extra {
            self.0.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Value::Object(self.0)
    }
}

pub(crate) fn wrong_type(expected: &str, found: &Value) -> Error {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Error::new(format!("expected {expected}, found {found}"))
}

impl Read for String {
    fn read(value: Value) -> Result<String, Error> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(wrong_type("a string", &other)),
        }
    }
}

impl Read for bool {
    fn read(value: Value) -> Result<bool, Error> {
        value.as_bool().ok_or_else(|| wrong_type("true or false", &value))
    }
}

impl Read for i64 {
    fn read(value: Value) -> Result<i64, Error> {
        match &value {
            Value::Number(n) => n.as_i64().ok_or_else(|| Error::new(format!("expected an integer, found {n}"))),
            other => Err(wrong_type("an integer", other)),
        }
    }
}

impl Read for u64 {
    fn read(value: Value) -> Result<u64, Error> {
        match &value {
            Value::Number(n) => {
                n.as_u64().ok_or_else(|| Error::new(format!("expected an unsigned integer, found {n}")))
            }
            other => Err(wrong_type("an unsigned integer", other)),
        }
    }
}

impl Read for u32 {
    fn read(value: Value) -> Result<u32, Error> {
        let number = u64::read(value)?;
        u32::try_from(number).map_err(|_| Error::new(format!("expected a number up to {}, found {number}", u32::MAX)))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: Value) -> Result<Vec<T>, Error> {
        match value {
            Value::Array(items) => items.into_iter().enumerate().map(|(i, item)| T::read(item).at(i)).collect(),
            other => Err(wrong_type("a list", &other)),
        }
    }
}

/// A map of strings; Go reads a `null` in one as the empty string.
impl Read for BTreeMap<String, String> {
    fn read(value: Value) -> Result<Self, Error> {
        let Value::Object(map) = value else { return Err(wrong_type("an object of strings", &value)) };
        let read = |(key, value): (String, Value)| match value {
            Value::Null => Ok((key, String::new())),
            Value::String(text) => Ok((key, text)),
            other => Err(wrong_type("a string", &other).in_field(&format!("[{key:?}]"))),
        };
        map.into_iter().map(read).collect()
    }
}

/// Kept as it was read.
impl Write for Value {
    fn write(&self) -> Value {
        self.clone()
    }
}

impl Write for str {
    fn write(&self) -> Value {
        Value::String(self.to_owned())
    }
}

impl Write for String {
    fn write(&self) -> Value {
        self.as_str().write()
    }
}

impl Write for bool {
    fn write(&self) -> Value {
        Value::Bool(*self)
    }
}

impl Write for u16 {
    fn write(&self) -> Value {
        Value::from(*self)
    }
}

impl Write for u32 {
    fn write(&self) -> Value {
        Value::from(*self)
    }
}

impl Write for u64 {
    fn write(&self) -> Value {
        Value::from(*self)
    }
}

impl<T: Write> Write for [T] {
    fn write(&self) -> Value {
        self.iter().map(Write::write).collect()
    }
}

impl Write for BTreeMap<String, String> {
    fn write(&self) -> Value {
        self.iter().map(|(key, value)| (key.clone(), value.write())).collect()
    }
}
