use proptest::prelude::*;

use super::*;

fn split(line: &str) -> Result<Vec<String>, Bad> {
    let names = [("NAME", "a  'b' $1 #c\\"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let arguments = (1..=10).map(|n| OsString::from(format!("arg {n}"))).collect();
    let values = Values { arguments, names: BTreeMap::from(names) };
    let words = words(line.as_bytes(), &values)?;
    Ok(words.into_iter().map(|word| word.into_string().unwrap()).collect())
}

fn check(line: &str, expected: &[&str]) {
    assert_eq!(split(line).as_deref(), Ok(&expected.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..]), "{line}");
}

#[test]
fn lines_are_split_as_by_the_original() {
    // The cases of its script_test.go.
    check("", &[]);
    check("run -- test", &["run", "--", "test"]);
    check("run --  test", &["run", "--", "test"]);
    check("run -- \t test", &["run", "--", "test"]);
    check("   run --  test   ", &["run", "--", "test"]);
    check("\trun -- test", &["run", "--", "test"]);
    check("#this is a test", &[]);
    check("    #this is a test", &[]);
    check("run  -- #this is a test", &["run", "--"]);
    check(r##"this is a "comment in #a string""##, &["this", "is", "a", "comment in #a string"]);
    check("this is a 'comment in #another string'", &["this", "is", "a", "comment in #another string"]);
    check(r#"set-name \\'hello'\\"""#, &["set-name", r"\hello\"]);
    check(r"set-name \'hello\'", &["set-name", "'hello'"]);
    check("set-name 'hello'", &["set-name", "hello"]);
    check("set-name 'he llo'", &["set-name", "he llo"]);
    check(r"set-name \'he llo\'", &["set-name", "'he", "llo'"]);
    check(r#"set-name \"hello\""#, &["set-name", "\"hello\""]);
    check(r#"set-name "hello""#, &["set-name", "hello"]);
    check(r#"set-name "he llo""#, &["set-name", "he llo"]);
    check(r#"set-name \"he llo\""#, &["set-name", "\"he", "llo\""]);
    check(r#"set-name "t'es't""#, &["set-name", "t'es't"]);
    check(r#"set-name "t'est""#, &["set-name", "t'est"]);
    check(r#"set-name 't"es"t'"#, &["set-name", "t\"es\"t"]);
    check(r#"set-name 'tes"t'"#, &["set-name", "tes\"t"]);
    check(r#"set-name t"es"t"#, &["set-name", "test"]);
    check("set-name t'es't", &["set-name", "test"]);
    check(r#"set-name "te"'st'"#, &["set-name", "test"]);
    check(r#"set-name 't'h"i's "i\'s" 'a' "t''''e""""s'""'t\\"#, &["set-name", r#"thi's i's 'a' tes""t\"#]);
    assert_eq!(split(r#"set-name 'test""#), Err(Bad::SingleQuote));
    assert_eq!(split(r#"set-name "test'"#), Err(Bad::DoubleQuote));
    assert_eq!(split(r"set-name test\"), Err(Bad::Escape));
}

#[test]
fn what_the_original_got_wrong_is_right() {
    check("copy a#b /c#d #e", &["copy", "a#b", "/c#d"]);
    check("env add A ''", &["env", "add", "A", ""]);
    check("env add A \"\" #", &["env", "add", "A", ""]);
}

#[test]
fn values_take_the_place_of_their_names_as_they_are() {
    let value = "a  'b' $1 #c\\";
    check("$NAME", &[value]);
    check("x${NAME}y \"$NAME\" z", &[&format!("x{value}y"), value, "z"]);
    check("'$NAME' \\$NAME", &["$NAME", "$NAME"]);
    check("$1 $10 ${10}.", &["arg 1", "arg 10", "arg 10."]);
    check("$EMPTY a", &["", "a"]);
    assert_eq!(split("$NO"), Err(Bad::Unset("NO".to_owned())));
    assert_eq!(split("$NAMES"), Err(Bad::Unset("NAMES".to_owned())));
    for missing in ["0", "11", "99999999999999999999999"] {
        assert_eq!(split(&format!("${{{missing}}}")), Err(Bad::NoArgument(missing.to_owned(), 10)));
    }
    for bad in ["$", "$ a", "a$", "$(date)", "${", "${}", "${NAME", "${1a}", "${A-b}", "$$", "\"$\"", "${\u{fc}}"] {
        assert_eq!(split(bad), Err(Bad::Dollar), "{bad}");
    }
    assert_eq!(split("a\0b"), Err(Bad::Zero));
}

proptest! {
    #[test]
    fn what_is_escaped_comes_back(texts in prop::collection::vec("[^\0]*", 0..5)) {
        let escaped = |text: &String| text.bytes().fold(b"''".to_vec(), |mut all, byte| {
            all.extend([b'\\', byte]);
            all
        });
        let line = texts.iter().map(escaped).collect::<Vec<_>>().join(&b' ');
        let words = words(&line, &Values::default()).unwrap();
        prop_assert_eq!(words, texts.iter().map(OsString::from).collect::<Vec<_>>());
    }

    #[test]
    fn no_line_is_too_odd(line in any::<Vec<u8>>()) {
        let _either = words(&line, &Values::default());
    }
}
