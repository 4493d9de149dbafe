//! What a registry says when it refuses.

use std::io::Read;

use serde::Deserialize;

use super::connection::Connection;
use crate::Error;
use crate::error::printable;
use crate::fetch::http::Response;

/// More of an answer is not looked at.
const LONGEST: u64 = 64 << 10;

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
    let _ = answer.reader(LONGEST).read_to_end(&mut body);
    let said = said(&body);
    let advice = if matches!(status, 401 | 403) { connection.advice() } else { String::new() };
    let detail: Vec<&str> = [said.as_str(), &advice].into_iter().filter(|text| !text.is_empty()).collect();
    match without_body {
        Error::Fetch { url, why, again } if !detail.is_empty() => {
            Error::Fetch { url, why: format!("{why}: {}", detail.join("; ")), again }
        }
        other => other,
    }
}

/// The first error of a body, in one line.
fn said(body: &[u8]) -> String {
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    let Some(Said { code, message }) = errors.into_iter().next() else { return String::new() };
    let both = if message.is_empty() { code } else { message };
    printable(both.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        assert_eq!(said(br#"{"errors":[{"code":"DENIED","message":"go\naway","detail":{}}]}"#), "go\\naway");
        assert_eq!(said(br#"{"errors":[{"code":"DENIED"}]}"#), "DENIED");
        for nothing in [&b"<html>"[..], b"", b"{}", br#"{"errors":[]}"#, br#"{"errors":7}"#] {
            assert_eq!(said(nothing), "");
        }
    }
}
