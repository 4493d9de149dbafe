//! Everything that is printed goes through here.
#![allow(clippy::print_stderr)]

use std::io::{self, Write};

/// Writes `text` to standard output. A reader that went away is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Writes one line to standard error, with the command's name in front.
pub fn note(command: &str, text: &str) {
    // Nothing can be said about a standard error that cannot be written to.
    let _ = writeln!(io::stderr().lock(), "{command}: {text}");
}

/// Rows as columns, padded with spaces to the widest cell; the last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        // Spaces go in front of the next cell that has something.
        let mut spaces = 0;
        for (cell, width) in row.iter().zip(&widths) {
            let shown = cell.trim_end();
            if !shown.is_empty() {
                text.extend(std::iter::repeat_n(' ', spaces));
                text.push_str(shown);
                spaces = 0;
            }
            spaces += width + 2 - shown.chars().count();
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["ID".into(), "NAME".into()], vec!["abcdef".into(), "x".into()]];
        assert_eq!(super::table(&rows), "ID      NAME\nabcdef  x\n");
        let rows = ["a  ", "bb", "", ""].map(str::to_owned);
        let other = ["", "", "ccc ", ""].map(str::to_owned);
        assert_eq!(super::table(&[rows.to_vec(), other.to_vec()]), "a    bb\n         ccc\n");
    }
}
