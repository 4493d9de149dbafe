//! Environment variables that do not come from the image.

use std::io;
use std::path::Path;

use appc_spec::Environment;

/// Variables for every app of the pod.
#[derive(Debug, Default, Clone)]
pub struct Variables {
    /// The caller's, which never replace the image's.
    pub inherited: Vec<(String, String)>,
    /// Those of `--set-env-file` and then `--set-env`.
    pub set: Vec<(String, String)>,
}

/// From weak to strong: inherited, the image's, `--environment`, `--set-env-file`, `--set-env`.
pub(super) fn apply(environment: &mut Environment, asked: &[(String, String)], variables: &Variables) {
    for (name, value) in &variables.inherited {
        if environment.get(name).is_none() {
            environment.set(name, value);
        }
    }
    for (name, value) in asked.iter().chain(&variables.set) {
        environment.set(name, value);
    }
}

/// Whether a manifest may have a variable of this name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Reads a file of `NAME=VALUE` lines; blank lines and those that begin with `#` or `;` are passed over.
///
/// # Errors
/// Also for a line without `=` and a name that is there twice.
pub fn read_file(path: &Path) -> io::Result<Vec<(String, String)>> {
    parse(&std::fs::read_to_string(path)?).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';']));
    for line in lines {
        let (name, value) = match line.split_once('=') {
            Some((name, value)) if !name.is_empty() => (name, value),
            _ => return Err(format!("environment variable must be specified as name=value, found {line:?}")),
        };
        if variables.iter().any(|(known, _)| known == name) {
            return Err(format!("environment variable {name:?} already set"));
        }
        variables.push((name.into(), value.into()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let parsed = parse("# comment\n\n; other\nA=1\n B=x=y \nC=\n").unwrap();
        let expected = [("A", "1"), ("B", "x=y"), ("C", "")].map(|(n, v)| (n.to_string(), v.to_string()));
        assert_eq!(parsed, expected);
        assert!(parse("A").unwrap_err().contains("name=value"));
        assert!(parse("=1").unwrap_err().contains("name=value"));
        assert!(parse("A=1\nA=2").unwrap_err().contains("already set"));
    }

    #[test]
    fn precedence() {
        let pair = |n: &str, v: &str| (n.to_string(), v.to_string());
        let mut environment = Environment::new();
        for name in ["IMAGE", "ASKED", "SET"] {
            environment.set(name, "image");
        }
        let inherited = ["IMAGE", "CALLER", "ASKED"].map(|n| pair(n, "caller")).into();
        let variables = Variables { inherited, set: vec![pair("SET", "set")] };
        apply(&mut environment, &[pair("ASKED", "asked"), pair("SET", "asked")], &variables);
        for (name, value) in [("IMAGE", "image"), ("CALLER", "caller"), ("ASKED", "asked"), ("SET", "set")] {
            assert_eq!(environment.get(name), Some(value), "{name}");
        }
    }
}
