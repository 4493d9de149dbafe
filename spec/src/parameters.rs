//! The `name,key=value,key=value` form that volumes, mount points and ports have on command lines.

use crate::Error;

/// What was typed, taken apart.
pub(crate) struct Parameters<'a> {
    pub(crate) name: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
    what: &'static str,
}

impl<'a> Parameters<'a> {
    /// Takes `text` apart; `what` it describes is for messages.
    pub(crate) fn of(what: &'static str, text: &'a str) -> Result<Parameters<'a>, Error> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                let rule = format!("malformed string {text:?} - has a label without a value: {}", part.escape_debug());
                return Err(Error::new(rule));
            };
            if key == "name" || pairs.iter().any(|(known, _)| *known == key) {
                return Err(Error::new(format!("label {} with multiple values in {text:?}", key.escape_debug())));
            }
            pairs.push((key, value));
        }
        Ok(Parameters { name, pairs, what })
    }

    /// The value of `key`, once.
    pub(crate) fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.pairs.iter().position(|(known, _)| *known == key)?;
        Some(self.pairs.remove(at).1)
    }

    /// A yes or no, in any spelling that Go's `ParseBool` takes.
    pub(crate) fn take_bool(&mut self, key: &str) -> Result<Option<bool>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(Error::new(format!("{key} must be true or false, got {other:?}"))),
        }
    }

    /// A number without sign, up to `most`.
    pub(crate) fn take_number(&mut self, key: &str, most: u32) -> Result<Option<u32>, Error> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && *number <= most);
        number.map(Some).ok_or_else(|| Error::new(format!("{key} must be a number from 0 to {most}, got {text:?}")))
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(Error::new(format!("unknown {} parameter {key:?}", self.what))),
        }
    }
}
