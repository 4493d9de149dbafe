//! Annotations: facts about an image or a pod that do not select it.

use serde_json::Value;

use crate::json::{Fields, Map, Object, Read, Write, text};
use crate::list::{duplicate, named_values};
use crate::{AcIdentifier, Error};

named_values! {
    /// One annotation. `created`, `authors`, `homepage` and `documentation` are well known.
    item Annotation, name AcIdentifier;
    /// Annotations in order.
    list Annotations;
}

impl Annotations {
    /// Replaces the value in place, or adds the annotation at the end.
    pub fn set(&mut self, name: AcIdentifier, value: impl Into<String>) {
        match self.0.iter_mut().find(|annotation| annotation.name == name) {
            Some(annotation) => annotation.value = value.into(),
            None => self.0.push(Annotation::new(name, value)),
        }
    }

    /// The list as JSON on one line, as the metadata service serves it.
    pub fn to_json(&self) -> String {
        text::compact(&self.write())
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if let Some((at, name)) = duplicate(self.iter().map(|annotation| annotation.name.as_str())) {
            return Err(Error::new(format!("duplicate annotations of name {name:?}")).in_field("name").at(at));
        }
        for (at, annotation) in self.iter().enumerate() {
            let checked = match annotation.name.as_str() {
                "created" => check_date(&annotation.value),
                "homepage" | "documentation" => check_url(&annotation.value),
                _ => Ok(()),
            };
            checked.map_err(|e| e.in_field("value").at(at))?;
        }
        Ok(())
    }
}

/// RFC 3339 with a `T`, as `2014-10-27T19:32:27.67021798Z` or `2015-05-18T13:49:28-04:00`.
fn check_date(text: &str) -> Result<(), Error> {
    let valid = || {
        let (date, time) = text.split_once('T')?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let zone_at = time.find(['Z', '+', '-'])?;
        let (clock, zone) = time.split_at(zone_at);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let [zone_hour, zone_minute] = if zone == "Z" { [0, 0] } else { numbers(&zone[1..], ':', [2, 2])? };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        let in_range = (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
        let digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
        (in_range && digits && zone_hour < 24 && zone_minute < 60).then_some(())
    };
    valid().ok_or_else(|| Error::new(format!("bad Date: {text:?} is not in RFC 3339 form (2014-10-27T19:32:27Z)")))
}

/// Numbers of exactly these widths, one separator between them.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut found = [0; N];
    let mut parts = text.split(separator);
    for (number, width) in found.iter_mut().zip(widths) {
        let part = parts.next().filter(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

fn check_url(text: &str) -> Result<(), Error> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    if text.chars().any(char::is_control) {
        return Err(Error::new("bad URL: control character in it"));
    }
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Error::new("bad URL scheme, must be http/https"));
    }
    let escapes_valid = text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes();
        (0..2).all(|_| digits.next().is_some_and(|b| b.is_ascii_hexdigit()))
    });
    if !escapes_valid {
        return Err(Error::new(format!("bad URL: {text:?} has a % without two hexadecimal digits after it")));
    }
    Ok(())
}
