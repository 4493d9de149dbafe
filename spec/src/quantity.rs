//! Quantities of a resource: `500m`, `1.5G`, `64Mi`, `1e3`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde_json::Value;

use crate::Error;
use crate::json::{Read, fields};

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = 1_000_000;
/// The largest absolute value, in billionths; what is larger is cut to it.
const MAX: i128 = i64::MAX as i128 * NANO;

const DECIMAL: [(&str, i64); 11] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("K", 3), // the specification's spelling; "k" is what the Go tools read and what is printed
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// An exact quantity. Kept in billionths; what is smaller is rounded away from zero.
///
/// Two quantities are equal when their values are, however they were spelt.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    style: Style,
}

/// How it was spelt, which is how it is printed.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// `1500m`, `2G`
    Decimal,
    /// `64Mi`
    Binary,
    /// `2e9`
    Exponent,
}

impl Quantity {
    /// The value, rounded up to a whole number.
    pub fn value(&self) -> i64 {
        ceil(self.nanos, NANO)
    }

    /// The value in thousandths, rounded up; cut to the range of the type.
    pub fn milli_value(&self) -> i64 {
        ceil(self.nanos, MILLI)
    }
}

fn ceil(nanos: i128, unit: i128) -> i64 {
    let up = nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0);
    i64::try_from(up).unwrap_or(if up < 0 { i64::MIN } else { i64::MAX })
}

impl From<i64> for Quantity {
    fn from(value: i64) -> Quantity {
        Quantity { nanos: (i128::from(value) * NANO).max(-MAX), style: Style::Decimal }
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Quantity, Error> {
        let text = text.trim();
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        if number.is_empty() || !suffix_shaped(suffix) {
            return Err(Error::new(format!(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$', found {text:?}"
            )));
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || whole.len() + fraction.len() == 0 {
            return Err(Error::new(format!("unable to parse numeric part of quantity {text:?}")));
        }
        let (style, nanos) = match suffix_of(suffix) {
            Some(Suffix::Decimal(exponent)) => (Style::Decimal, decimal_nanos(whole, fraction, exponent)),
            Some(Suffix::Exponent(exponent)) => (Style::Exponent, decimal_nanos(whole, fraction, exponent)),
            Some(Suffix::Binary(exponent)) => (Style::Binary, binary_nanos(whole, fraction, exponent)),
            None => return Err(Error::new(format!("unable to parse quantity's suffix in {text:?}"))),
        };
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, style })
    }
}

enum Suffix {
    Decimal(i64),
    Exponent(i64),
    Binary(u32),
}

fn suffix_shaped(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    rest.strip_prefix(['-', '+']).unwrap_or(rest).bytes().all(|b| b.is_ascii_digit())
}

fn suffix_of(suffix: &str) -> Option<Suffix> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some(Suffix::Decimal(*exponent));
    }
    if let Some((_, exponent)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some(Suffix::Binary(*exponent));
    }
    // An exponent of more digits than an i32 holds is refused, as by the Go tools.
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some(Suffix::Exponent(exponent.into()))
}

/// `whole.fraction` × 10^`exponent` in billionths: move the point, round up what is right of it, cut at the top.
fn decimal_nanos(whole: &str, fraction: &str, exponent: i64) -> i128 {
    let shift = exponent + 9;
    let mut nanos: i128 = 0;
    let mut rounded_off = false;
    let places = whole.bytes().rev().zip(0i64..).map(|(digit, place)| (digit, place + shift));
    let below = fraction.bytes().zip(1i64..).map(|(digit, place)| (digit, shift - place));
    for (digit, place) in places.chain(below).filter(|(digit, _)| *digit != b'0') {
        match u32::try_from(place).ok() {
            None => rounded_off = true,
            // MAX has 28 digits.
            Some(place) if place > 28 => return MAX,
            Some(place) => nanos += i128::from(digit - b'0') * 10i128.pow(place),
        }
    }
    (nanos + i128::from(rounded_off)).min(MAX)
}

/// `whole.fraction` × 2^`exponent` in billionths, rounded up, cut at the top.
fn binary_nanos(whole: &str, fraction: &str, exponent: u32) -> i128 {
    let unit = NANO << exponent;
    let mut nanos: i128 = 0;
    // From the last digit on; rounding each step up gives what rounding once at the end gives.
    for digit in fraction.bytes().rev() {
        let tenths = i128::from(digit - b'0') * unit + nanos;
        nanos = tenths / 10 + i128::from(tenths % 10 != 0);
    }
    let mut units: i128 = 0;
    for digit in whole.bytes() {
        units = units * 10 + i128::from(digit - b'0');
        if units * unit > MAX {
            return MAX;
        }
    }
    (units * unit + nanos).min(MAX)
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let whole = self.nanos % NANO == 0;
        let mut number = self.nanos;
        if matches!(self.style, Style::Binary) && whole && (number / NANO).abs() >= 1024 {
            number /= NANO;
            let mut power = 0;
            while number % 1024 == 0 && power < BINARY.len() {
                number /= 1024;
                power += 1;
            }
            let suffix = if power == 0 { "" } else { BINARY[power - 1].0 };
            return f.pad(&format!("{number}{suffix}"));
        }
        let mut exponent = -9;
        while number != 0 && number % 1000 == 0 && exponent < 18 {
            number /= 1000;
            exponent += 3;
        }
        if number == 0 {
            exponent = 0;
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(name, _)| name);
        match (self.style, exponent) {
            (Style::Exponent, 1..) | (Style::Exponent, ..=-1) => f.pad(&format!("{number}e{exponent}")),
            _ => f.pad(&format!("{number}{suffix}")),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

/// A string, or a bare number.
impl Read for Quantity {
    fn read(value: Value) -> Result<Quantity, Error> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => number.to_string().parse(),
            other => Err(fields::wrong_type("a quantity such as \"500m\" or \"64Mi\"", &other)),
        }
    }
}
