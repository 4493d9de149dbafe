//! The words of a line.
//!
//! Words are separated by spaces and tabs. `'…'` and `"…"` make one word, or a part of one, of what is between them; a
//! backslash takes away the meaning of the character behind it, everywhere; `#` at the beginning of a word begins a
//! comment. `$NAME`, `${NAME}`, `$1` and `${10}` stand for values, except between single quotes. A value is never
//! split or looked at again: what is one word in the script is one word with any value.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Why a line has no words. The texts follow the name of the file and the number of the line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Bad {
    #[error("unterminated single quote block: close it on its line, or write \\' for the character")]
    SingleQuote,
    #[error("unterminated double quote block: close it on its line, or write \\\" for the character")]
    DoubleQuote,
    #[error("ended with an escape: a line must follow one that ends in a backslash")]
    Escape,
    #[error("${0} is not set: give it with --set {0}=VALUE, or write \\$ for the character")]
    Unset(String),
    #[error("${0} is not set: the script was given {1} arguments (write \\$ for the character)")]
    NoArgument(String, usize),
    #[error("$ stands before no name: it is $NAME, ${{NAME}}, $1 or ${{10}}; write \\$ for the character")]
    Dollar,
    #[error("there is a zero byte in it, which no command can be given")]
    Zero,
}

/// What `$` can stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    /// `$1` and on.
    pub(super) arguments: Vec<OsString>,
    /// `$NAME`.
    pub(super) names: BTreeMap<String, String>,
}

impl Values {
    fn get(&self, name: &str) -> Result<&OsStr, Bad> {
        if !name.starts_with(|c: char| c.is_ascii_digit()) {
            return self.names.get(name).map(OsStr::new).ok_or_else(|| Bad::Unset(name.to_owned()));
        }
        let missing = || Bad::NoArgument(name.to_owned(), self.arguments.len());
        let index = name.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).ok_or_else(missing)?;
        self.arguments.get(index).map(OsString::as_os_str).ok_or_else(missing)
    }
}

/// Whether `name` can stand behind `$`, as something other than a number.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(is_part_of_name)
}

fn is_part_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Splits `line` into its words.
pub(super) fn words(line: &[u8], values: &Values) -> Result<Vec<OsString>, Bad> {
    if line.contains(&0) {
        return Err(Bad::Zero);
    }
    let (mut words, mut word) = (Vec::new(), None::<Vec<u8>>);
    let (mut rest, mut quote) = (line, None::<u8>);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, quote) {
            (b'\\', _) => {
                let (&escaped, after) = rest.split_first().ok_or(Bad::Escape)?;
                word.get_or_insert_default().push(escaped);
                rest = after;
            }
            (b'$', None | Some(b'"')) => {
                let (name, after) = name(rest)?;
                word.get_or_insert_default().extend_from_slice(values.get(name)?.as_bytes());
                rest = after;
            }
            (b'\'' | b'"', None) => {
                word.get_or_insert_default();
                quote = Some(byte);
            }
            (_, Some(open)) if open == byte => quote = None,
            (b' ' | b'\t', None) => words.extend(word.take()),
            (b'#', None) if word.is_none() => break,
            _ => word.get_or_insert_default().push(byte),
        }
    }
    match quote {
        Some(b'\'') => return Err(Bad::SingleQuote),
        Some(_) => return Err(Bad::DoubleQuote),
        None => words.extend(word),
    }
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

/// The name at the beginning of what follows a `$`, and what follows that. As in a shell, a digit stands alone.
fn name(text: &[u8]) -> Result<(&str, &[u8]), Bad> {
    let (name, rest) = match text.first() {
        Some(b'{') => {
            let end = text.iter().position(|byte| *byte == b'}').ok_or(Bad::Dollar)?;
            (&text[1..end], &text[end + 1..])
        }
        Some(digit) if digit.is_ascii_digit() => text.split_at(1),
        _ => text.split_at(text.iter().take_while(|byte| is_part_of_name(**byte)).count()),
    };
    let name = std::str::from_utf8(name).map_err(|_| Bad::Dollar)?;
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || is_name(name) { Ok((name, rest)) } else { Err(Bad::Dollar) }
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
