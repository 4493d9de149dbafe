//! What a registry says when it refuses.

use std::io::Read;

use serde::Deserialize;

use super::connection::Connection;
use crate::error::{Again, Error, printable};
use crate::fetch::http::Response;

/// More of an answer is not looked at.
const LONGEST: u64 = 64 << 10;

/// More errors at once are not shown.
const SHOWN: usize = 3;

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The error that `answer`, which was not wanted, means.
pub(super) fn refusal(connection: &Connection, answer: Response) -> Error {
    let status = answer.status;
    let without_body = answer.refusal("");
    let mut body = Vec::new();
    // What is cut off is no JSON and says nothing.
    let _ = answer.document(LONGEST).read_to_end(&mut body);
    let errors = errors(&body);
    // Blobs come before the manifest that has them, so they are there; while another client puts the same, some registries
    // cannot see them.
    let soon = errors.iter().any(|one| one.code == "MANIFEST_BLOB_UNKNOWN").then_some(Again::SOON);
    let said = said(errors);
    let advice = if matches!(status, 401 | 403) { connection.advice() } else { String::new() };
    let detail: Vec<&str> = [said.as_str(), &advice].into_iter().filter(|text| !text.is_empty()).collect();
    match without_body {
        Error::Fetch { url, why, again } if !detail.is_empty() => {
            Error::Fetch { url, why: format!("{why}: {}", detail.join("; ")), again: again.or(soon) }
        }
        other => other,
    }
}

/// What an answer means that says that there is no such thing. It is read, so that its connection can be used again.
pub(super) fn nothing<T>(answer: Response) -> Option<T> {
    let _ = answer.document(LONGEST).read_to_end(&mut Vec::new());
    None
}

fn errors(body: &[u8]) -> Vec<Said> {
    serde_json::from_slice(body).map_or_else(|_| Vec::new(), |Errors { errors }| errors)
}

/// The errors in one line.
fn said(errors: Vec<Said>) -> String {
    let both = |one: Said| if one.message.is_empty() { one.code } else { one.message };
    let shown: Vec<String> = errors.into_iter().take(SHOWN).map(|one| printable(both(one).as_bytes())).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        let said = |body: &[u8]| said(errors(body));
        assert_eq!(said(br#"{"errors":[{"code":"DENIED","message":"go\naway","detail":{}}]}"#), "go\\naway");
        assert_eq!(said(br#"{"errors":[{"code":"DENIED"}]}"#), "DENIED");
        assert_eq!(said(br#"{"errors":[{"code":"A"},{"message":"b"},{"code":"C"},{"code":"D"}]}"#), "A, b, C");
        for nothing in [&b"<html>"[..], b"", b"{}", br#"{"errors":[]}"#, br#"{"errors":7}"#] {
            assert_eq!(said(nothing), "");
        }
    }
}
