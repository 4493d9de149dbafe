//! The lines of a script.

/// A byte order mark, which some editors put first.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// The lines of `text` with the numbers they begin at. One that ends in a backslash goes on in the next, with a space in
/// between; a comment does not. White space around each is left out, and so are empty ones.
pub(super) fn lines(text: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let text = text.strip_prefix(MARK).unwrap_or(text);
    let mut joined = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (index, raw) in text.split(|byte| *byte == b'\n').enumerate() {
        let raw = raw.trim_ascii();
        let is_comment = open.is_none() && raw.starts_with(b"#");
        let (number, mut line) = open.take().unwrap_or((index + 1, Vec::new()));
        match raw.strip_suffix(b"\\") {
            Some(rest) if goes_on(raw) && !is_comment => {
                line.extend_from_slice(rest);
                line.push(b' ');
                open = Some((number, line));
            }
            _ => {
                line.extend_from_slice(raw);
                joined.push((number, line));
            }
        }
    }
    if let Some((number, mut line)) = open {
        // Nothing follows: the backslash stays, and is what will be complained about.
        line.pop();
        line.push(b'\\');
        joined.push((number, line));
    }
    joined.retain(|(_, line)| !line.is_empty());
    joined
}

/// Whether the backslash at the end is one, and not the second half of an escaped backslash.
fn goes_on(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbered<'a> = &'a [(usize, &'a str)];

    fn joined(text: &str) -> Vec<(usize, String)> {
        lines(text.as_bytes()).into_iter().map(|(n, line)| (n, String::from_utf8(line).unwrap())).collect()
    }

    #[test]
    fn lines_are_joined_as_by_the_original() {
        // The cases of its script_test.go; it left an empty line for each that was joined to the next.
        let cases: &[(&[&str], Numbered<'_>)] = &[
            (&["this is", "a test"], &[(1, "this is"), (2, "a test")]),
            (&[r"this is \", "a test"], &[(1, "this is  a test")]),
            (&[r"this is\", r"another    \", "test"], &[(1, "this is another     test")]),
            (&[r"this is a test \"], &[(1, r"this is a test \")]),
            (&[r"this\", r"is\", "a", "test"], &[(1, "this is a"), (4, "test")]),
        ];
        for (input, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(n, line)| (*n, (*line).to_owned())).collect();
            assert_eq!(joined(&input.join("\n")), expected, "{input:?}");
        }
    }

    #[test]
    fn white_space_comments_and_escaped_backslashes_are_what_they_seem() {
        let cases: &[(&str, Numbered<'_>)] = &[
            ("", &[]),
            ("\n  \r\n\tbegin\r\n\n end", &[(3, "begin"), (5, "end")]),
            ("\u{feff}begin", &[(1, "begin")]),
            ("# a path: C:\\\nbegin", &[(1, "# a path: C:\\"), (2, "begin")]),
            (r"a \\", &[(1, r"a \\")]),
            ("a \\\\\nb", &[(1, r"a \\"), (2, "b")]),
            ("a \\\n\nb", &[(1, "a  "), (3, "b")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(n, line)| (*n, (*line).to_owned())).collect();
            assert_eq!(joined(text), expected, "{text:?}");
        }
    }
}
