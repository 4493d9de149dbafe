//! The history that commands leave in the manifest: one annotation each, numbered upwards.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// What the annotations' names begin with; the number follows.
const PREFIX: &str = "coreos.com/acbuild/command-";

/// The name of the next annotation, behind the highest number there is.
pub(crate) fn next_name<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let numbers = names.filter_map(number);
    let next = numbers.max().unwrap_or(0).saturating_add(1);
    format!("{PREFIX}{next}")
}

/// The history in annotations, names and values: what was recorded, in the order of the numbers.
pub(crate) fn steps<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<&'a str> {
    let mut steps: Vec<(u64, &str)> = annotations.filter_map(|(name, value)| Some((number(name)?, value))).collect();
    steps.sort_by_key(|(number, _)| *number);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// The number in the name of an annotation that is part of the history.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// The line for a command: its full name, then each positional argument, quoted. Flags are left out.
pub(crate) fn line(command: &[&str], arguments: &[OsString]) -> String {
    let mut line = String::from("acbuild");
    for word in command {
        line.push(' ');
        line.push_str(word);
    }
    for argument in arguments {
        line.push(' ');
        line.push_str(&quote(argument));
    }
    line
}

/// `text` in double quotes the way Go's `%q` prints it, as the readers of the history expect.
pub(crate) fn quote(text: &OsStr) -> String {
    let mut quoted = String::from("\"");
    for chunk in text.as_bytes().utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_escaped(&mut quoted, c));
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}"); // Writing to a String cannot fail.
        }
    }
    quoted.push('"');
    quoted
}

fn push_escaped(quoted: &mut String, c: char) {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        _ => "",
    };
    // Writing to a String cannot fail.
    let _ = match u32::from(c) {
        _ if !short.is_empty() => quoted.write_str(short),
        _ if is_printable(c) => quoted.write_char(c),
        code @ (0..0x20 | 0x7f) => write!(quoted, "\\x{code:02x}"),
        code @ 0..=0xffff => write!(quoted, "\\u{code:04x}"),
        code => write!(quoted, "\\U{code:08x}"),
    };
}

/// Whether Go would print `c` as it is: a letter, mark, number, sign, or the ASCII space.
fn is_printable(c: char) -> bool {
    // The standard library knows this, but tells only through str::escape_debug, which leaves printable characters
    // alone; the letter in front is there because it also escapes a combining mark that stands first.
    matches!(c, ' ' | '\'') || format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn quoting_is_that_of_go() {
        // Expected values: strconv.Quote of the same bytes.
        let cases: &[(&[u8], &str)] = &[
            (b"", r#""""#),
            (b"plain words", r#""plain words""#),
            (b"it's \"so\" \\", r#""it's \"so\" \\""#),
            (b"\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            (b"\x00\x1b\x7f", r#""\x00\x1b\x7f""#),
            ("gr\u{fc}n \u{4e16}\u{754c} \u{1f600}".as_bytes(), "\"gr\u{fc}n \u{4e16}\u{754c} \u{1f600}\""),
            ("e\u{301}".as_bytes(), "\"e\u{301}\""),
            ("\u{a0}\u{ad}\u{200b}\u{2028}\u{feff}".as_bytes(), r#""\u00a0\u00ad\u200b\u2028\ufeff""#),
            ("\u{e0001}\u{10ffff}".as_bytes(), r#""\U000e0001\U0010ffff""#),
            ("\u{fffd}".as_bytes(), "\"\u{fffd}\""),
            (b"a\xff\xc3z", r#""a\xff\xc3z""#),
            ("\u{80}".as_bytes(), r#""\u0080""#),
        ];
        for (text, expected) in cases {
            assert_eq!(quote(&OsString::from_vec(text.to_vec())), *expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_has_the_full_name_and_each_argument() {
        let arguments = ["apk".into(), "a b".into()];
        assert_eq!(line(&["dependency", "add"], &arguments), r#"acbuild dependency add "apk" "a b""#);
        assert_eq!(line(&["set-exec"], &[]), "acbuild set-exec");
    }

    #[test]
    fn numbers_go_on_behind_the_highest() {
        let names = ["coreos.com/acbuild/command-7", "coreos.com/acbuild/command-x", "other"];
        assert_eq!(next_name(names.into_iter()), "coreos.com/acbuild/command-8");
        assert_eq!(next_name([].into_iter()), "coreos.com/acbuild/command-1");
        let all = [("coreos.com/acbuild/command-10", "c"), ("other", "x"), ("coreos.com/acbuild/command-9", "b")];
        assert_eq!(steps(all.into_iter()), ["b", "c"]);
    }
}
