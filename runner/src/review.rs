//! Asking the user whether a key is the one that it should be.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use appc_image::trust::Key;

use crate::failure::{Context, Failure};

/// More than any key file.
const LONGEST: u64 = 2 << 20;

/// Shows what can be compared with what the publisher says, and asks.
///
/// # Errors
/// When nobody answers, or nothing can be printed by `print`.
pub fn ask(
    prefix: &str,
    address: &str,
    keys: &[Key],
    print: impl Fn(&str) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    print(&describe(prefix, address, keys))?;
    let mut answers = io::stdin().lock();
    loop {
        print("Are you sure you want to trust this key (yes/no)?\n")?;
        let mut answer = String::new();
        let read = answers.by_ref().take(1024).read_line(&mut answer).context("reading the answer")?;
        match answer.trim() {
            "yes" => return Ok(true),
            "no" => return Ok(false),
            _ if read == 0 => {
                return Err(Failure::new(
                    "nobody answers whether the key is to be trusted: answer yes or no, or use `rkt trust --skip-fingerprint-review`",
                ));
            }
            _ => print("Please enter 'yes' or 'no'\n")?,
        }
    }
}

fn describe(prefix: &str, address: &str, keys: &[Key]) -> String {
    let mut text = format!("prefix: {prefix:?}\nkey: {address:?}\n");
    for key in keys {
        text += &format!("gpg key fingerprint is: {}\n", in_groups(&key.fingerprint()));
        for subkey in key.subkeys() {
            text += &format!("    Subkey fingerprint: {}\n", in_groups(&subkey));
        }
        for identity in key.identities() {
            text += &format!("\t{identity}\n");
        }
    }
    text
}

/// As publishers print fingerprints.
fn in_groups(fingerprint: &str) -> String {
    let upper = fingerprint.to_uppercase();
    let groups: Vec<&str> = (0..upper.len()).step_by(4).map(|at| &upper[at..(at + 4).min(upper.len())]).collect();
    groups.join(" ")
}

/// The content of a file that may be anything.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    #[test]
    fn fingerprints_are_read_by_people() {
        assert_eq!(super::in_groups("18ad5014c9"), "18AD 5014 C9");
    }
}
