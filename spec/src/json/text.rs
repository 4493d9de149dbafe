//! From bytes to a JSON value and back, with Go's habits.

use std::fmt;
use std::io;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};
use serde_json::{Serializer, Value};

use super::Map;
use crate::Error;

/// How serde_json, so that no digit is lost, shows a number that is no 64-bit integer: as an object with this one key.
const NUMBER: &str = "$serde_json::private::Number";

/// Reads one JSON document. Bytes that are not UTF-8 become U+FFFD, as in Go; nesting deeper than 128 is refused.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let value = Document.deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|e| syntax_error(&e))
}

fn syntax_error(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let mut what = error.to_string();
    let place = format!(" at line {line} column {column}");
    if let Some(bare) = what.strip_suffix(&place) {
        what = bare.to_owned();
    }
    Error::new(format!("invalid JSON at line {line}, column {column}: {what}"))
}

/// Builds a [`Value`] in which the last of several equal keys wins *and* stands where it stood, so that
/// `{"name": 1, "NAME": 2, "name": 3}` is 3 for a reader that ignores case.
struct Document;

impl<'de> DeserializeSeed<'de> for Document {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Document)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        if let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Document)?;
            match &value {
                Value::String(digits) if key == NUMBER => {
                    return digits.parse().map(Value::Number).map_err(serde::de::Error::custom);
                }
                _ => all.push((key, value)),
            }
        }
        while let Some(key) = entries.next_key::<String>()? {
            all.push((key, entries.next_value_seed(Document)?));
        }
        let mut last_first = Map::new();
        for (key, value) in all.into_iter().rev() {
            last_first.entry(key).or_insert(value);
        }
        Ok(Value::Object(last_first.into_iter().rev().collect()))
    }
}

/// One line, no newline at the end.
pub(crate) fn compact(value: &Value) -> String {
    print(value, GoFormatter(CompactFormatter))
}

/// Four spaces a level, no newline at the end.
pub(crate) fn pretty(value: &Value) -> String {
    print(value, GoFormatter(PrettyFormatter::with_indent(b"    ")))
}

fn print(value: &Value, formatter: impl Formatter) -> String {
    let mut out = Vec::new();
    let done = value.serialize(&mut Serializer::with_formatter(&mut out, formatter));
    debug_assert!(done.is_ok(), "a JSON value always prints into memory");
    String::from_utf8_lossy(&out).into_owned()
}

/// Escapes as Go's `encoding/json` does, and leaves the layout to `F`.
struct GoFormatter<F>(F);

impl<F: Formatter> Formatter for GoFormatter<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices() {
            if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                out.write_all(&fragment.as_bytes()[plain..at])?;
                write!(out, "\\u{:04x}", u32::from(c))?;
                plain = at + c.len_utf8();
            }
        }
        out.write_all(&fragment.as_bytes()[plain..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Backspace => out.write_all(b"\\u0008"),
            CharEscape::FormFeed => out.write_all(b"\\u000c"),
            other => self.0.write_char_escape(out, other),
        }
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}
