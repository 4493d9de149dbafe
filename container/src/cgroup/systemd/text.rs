//! Values of properties from annotations `org.systemd.property.NAME`, in the text format of GVariant.

use std::collections::HashMap;

use super::Property;
use super::wire::Value;
use crate::cgroup::{Error, Result};

pub(crate) const PREFIX: &str = "org.systemd.property.";

/// The properties that annotations ask for, in the order of their names.
pub(super) fn properties(annotations: Option<&HashMap<String, String>>) -> Result<Vec<Property>> {
    let asked = annotations.into_iter().flatten().filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text)));
    let mut asked: Vec<(&str, &String)> = asked.collect();
    asked.sort();
    asked.into_iter().map(|(name, text)| property(name, text)).collect()
}

fn property(name: &str, text: &str) -> Result<Property> {
    let invalid = |rule: &str| Error::invalid(format!("annotations[{PREFIX}{name}]"), rule);
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err(invalid("the name of a property has three letters or more, and nothing else"));
    }
    let value =
        parse(text).ok_or_else(|| invalid(&format!("{text:?} is no value such as true, uint64 5 or 'text'")))?;
    // Documented in seconds, sent in microseconds.
    match name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase())) {
        Some(stem) => {
            let value = microseconds(&value).ok_or_else(|| invalid("must be a number of seconds"))?;
            Ok((format!("{stem}USec"), Value::U64(value)))
        }
        None => Ok((name.to_owned(), value)),
    }
}

fn microseconds(value: &Value) -> Option<u64> {
    const M: u64 = 1_000_000;
    match *value {
        Value::Byte(v) => Some(u64::from(v) * M),
        Value::I32(v) => u64::try_from(v).ok()?.checked_mul(M),
        Value::U32(v) => Some(u64::from(v) * M),
        Value::I64(v) => u64::try_from(v).ok()?.checked_mul(M),
        Value::U64(v) => v.checked_mul(M),
        Value::F64(v) if v >= 0.0 => Some((v * M as f64) as u64),
        _ => None,
    }
}

pub(super) fn parse(text: &str) -> Option<Value> {
    let (value, rest) = value(text.trim_start(), None)?;
    rest.trim().is_empty().then_some(value)
}

/// One value of the type asked for, and the text after it.
fn value<'a>(text: &'a str, r#type: Option<&str>) -> Option<(Value, &'a str)> {
    if let Some(rest) = text.strip_prefix('@') {
        let (signature, rest) = rest.split_once(' ')?;
        return value(rest.trim_start(), Some(signature));
    }
    match text.chars().next()? {
        '\'' | '"' => quoted(text),
        '[' => array(text, r#type.map(|t| t.strip_prefix('a')).unwrap_or(Some(""))?),
        _ => word(text, r#type),
    }
}

fn word<'a>(text: &'a str, r#type: Option<&str>) -> Option<(Value, &'a str)> {
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let keyword = match word {
        "boolean" => Some("b"),
        "byte" => Some("y"),
        "int32" => Some("i"),
        "uint32" => Some("u"),
        "int64" => Some("x"),
        "uint64" => Some("t"),
        "double" => Some("d"),
        "string" => Some("s"),
        _ => None,
    };
    if let Some(keyword) = keyword {
        return value(rest.trim_start(), Some(keyword));
    }
    let integer = || match word.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => word.parse::<i128>().ok(),
    };
    let value = match (r#type.unwrap_or_default(), word) {
        ("" | "b", "true") => Value::Bool(true),
        ("" | "b", "false") => Value::Bool(false),
        ("y", _) => Value::Byte(integer()?.try_into().ok()?),
        ("u", _) => Value::U32(integer()?.try_into().ok()?),
        ("x", _) => Value::I64(integer()?.try_into().ok()?),
        ("t", _) => Value::U64(integer()?.try_into().ok()?),
        ("d", _) => Value::F64(word.parse().ok()?),
        ("i", _) => Value::I32(integer()?.try_into().ok()?),
        ("", _) => match integer() {
            Some(number) => Value::I32(number.try_into().ok()?),
            None => Value::F64(word.parse().ok().filter(|v: &f64| v.is_finite())?),
        },
        _ => return None,
    };
    Some((value, rest))
}

fn quoted(text: &str) -> Option<(Value, &str)> {
    let quote = text.chars().next()?;
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => content.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            c if c == quote => return Some((Value::Text(content), &text[at + 1..])),
            c => content.push(c),
        }
    }
    None
}

/// An empty one needs its type said before it: `@as []`.
fn array<'a>(text: &'a str, of: &str) -> Option<(Value, &'a str)> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut values: Vec<Value> = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix(']') {
            let of = values.first().map_or(of.to_owned(), Value::signature);
            let alike = !of.is_empty() && values.iter().all(|v| v.signature() == of);
            return alike.then_some((Value::Array(of, values), rest));
        }
        let (next, after) = value(rest, Some(of).filter(|of| !of.is_empty()))?;
        values.push(next);
        let after = after.trim_start();
        rest = after.strip_prefix(',').map(str::trim_start).or(after.starts_with(']').then_some(after))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_gvariant_prints_them() {
        let table = [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            ("uint64 5", Value::U64(5)),
            ("@t 0x10", Value::U64(16)),
            ("'it''s'", Value::Bool(false)),
            ("\"a\\\"b\"", Value::text("a\"b")),
            ("['a', 'b']", Value::Array("s".into(), vec![Value::text("a"), Value::text("b")])),
            ("@as []", Value::Array("s".into(), vec![])),
            ("[uint32 1, 2]", Value::Bool(false)),
            ("2.5", Value::F64(2.5)),
        ];
        for (text, wanted) in table {
            match wanted {
                Value::Bool(false) => assert_eq!(parse(text), None, "{text}"),
                wanted => assert_eq!(parse(text), Some(wanted), "{text}"),
            }
        }
        for text in ["", "'", "[", "[]", "uint32 -1", "nonsense", "true false"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        assert_eq!(
            property("TimeoutStopSec", "uint64 123").unwrap(),
            ("TimeoutStopUSec".to_owned(), Value::U64(123_000_000))
        );
        assert_eq!(property("CollectMode", "'inactive-or-failed'").unwrap().1, Value::text("inactive-or-failed"));
        assert!(property("A1b", "1").unwrap_err().to_string().starts_with("annotations[org.systemd.property.A1b]: "));
        assert!(property("TimeoutStopSec", "'x'").is_err());
    }
}
