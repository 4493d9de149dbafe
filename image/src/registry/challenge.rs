//! What a registry says it wants to know: the `WWW-Authenticate` header.

/// One way to say who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token, which is had elsewhere.
    Bearer {
        /// The address that gives tokens.
        realm: String,
        /// For what the token is; empty when not said.
        service: String,
        /// For which repositories and actions; empty when not said.
        scope: String,
    },
}

/// The challenges in the values of all `WWW-Authenticate` headers that are understood, in their order.
pub fn challenges<'v>(values: impl IntoIterator<Item = &'v str>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in values {
        let mut rest = Scanner(value);
        while let Some(scheme) = rest.scheme() {
            let parameters = rest.parameters();
            let get = |name: &str| {
                let parameter = parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
                parameter.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            if scheme.eq_ignore_ascii_case("basic") {
                found.push(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer") && !get("realm").is_empty() {
                found.push(Challenge::Bearer { realm: get("realm"), service: get("service"), scope: get("scope") });
            }
        }
    }
    found
}

/// What has not been read of a header.
struct Scanner<'h>(&'h str);

impl<'h> Scanner<'h> {
    /// The next scheme: a word that no `=` follows.
    fn scheme(&mut self) -> Option<&'h str> {
        self.skip(|c| c == ',' || c.is_ascii_whitespace());
        let word = self.word();
        if word.is_empty() {
            // Something that is no challenge at all.
            self.0 = "";
            return None;
        }
        Some(word)
    }

    /// `name=value` and `name="value"`, separated by commas, up to the next scheme.
    fn parameters(&mut self) -> Vec<(&'h str, String)> {
        let mut parameters = Vec::new();
        loop {
            let before = self.0;
            self.skip(|c| c == ',' || c.is_ascii_whitespace());
            let name = self.word();
            self.skip(|c| c.is_ascii_whitespace());
            match self.0.strip_prefix('=') {
                Some(rest) if !name.is_empty() => self.0 = rest,
                _ => {
                    self.0 = before;
                    return parameters;
                }
            }
            self.skip(|c| c.is_ascii_whitespace());
            parameters.push((name, self.value()));
        }
    }

    fn value(&mut self) -> String {
        let Some(quoted) = self.0.strip_prefix('"') else {
            let end = self.0.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return value.to_owned();
        };
        let mut value = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next() {
                None | Some('"') => break,
                Some('\\') => value.extend(chars.next()),
                Some(c) => value.push(c),
            }
        }
        self.0 = chars.as_str();
        value
    }

    /// A token as HTTP has it, near enough.
    fn word(&mut self) -> &'h str {
        let end = self.0.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.~+/!#$%&'*^`|".contains(c));
        let (word, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        word
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.into() }
    }

    #[test]
    fn what_registries_send() {
        let cases = [
            (
                r#"Bearer realm="https://a.example/token",service="r.example",scope="repository:x/y:pull,push""#,
                vec![bearer("https://a.example/token", "r.example", "repository:x/y:pull,push")],
            ),
            ("Basic realm=\"x, y\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Negotiate, Basic realm="a", BEARER Realm = "https://t" , service=s"#,
                vec![Challenge::Basic, bearer("https://t", "s", "")],
            ),
            (r#"Bearer realm="a\"b""#, vec![bearer("a\"b", "", "")]),
            (r#"Bearer service="x""#, vec![]),
            (r#"Bearer realm="unterminated"#, vec![bearer("unterminated", "", "")]),
            ("", vec![]),
            ("=,=\"", vec![]),
            ("é", vec![]),
        ];
        for (header, expected) in cases {
            assert_eq!(challenges([header]), expected, "{header}");
        }
        assert_eq!(challenges(["Basic", "Bearer realm=t"]), [Challenge::Basic, bearer("t", "", "")]);
    }
}
