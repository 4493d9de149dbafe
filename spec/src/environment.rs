//! Environment variables of an app.

use serde_json::Value;

use crate::Error;
use crate::json::{Fields, Map, Object, Read, Write};
use crate::list::{duplicate, named_values};

named_values! {
    /// One environment variable. The value is taken literally: nothing is substituted in it.
    item EnvironmentVariable, name String;
    /// Environment variables in order.
    list Environment;
}

impl Environment {
    /// Replaces the value in place, or adds the variable at the end.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        match self.0.iter_mut().find(|variable| variable.name == name) {
            Some(variable) => variable.value = value.into(),
            None => self.0.push(EnvironmentVariable::new(name, value)),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        for (at, variable) in self.iter().enumerate() {
            check_name(&variable.name).map_err(|e| e.in_field("name").at(at))?;
        }
        match duplicate(self.iter().map(|variable| variable.name.as_str())) {
            Some((at, name)) => {
                Err(Error::new(format!("duplicate environment variable of name {name:?}")).in_field("name").at(at))
            }
            None => Ok(()),
        }
    }
}

/// Letters, digits, `_`, and, for practical reasons, `.` and `-`; no digit, `.` or `-` at the beginning.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::new("environment variable name must not be empty"));
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = |c: char| word(c) && !c.is_ascii_digit();
    if !name.starts_with(first) || !name.chars().all(|c| word(c) || c == '.' || c == '-') {
        return Err(Error::new(format!("environment variable does not have valid identifier {name:?}")));
    }
    Ok(())
}
