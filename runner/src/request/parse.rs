//! The grammar of `rkt run`: flags, images, `--` and `---`.

use std::ffi::OsString;

use super::flags::{self, Apply, Flag, Takes};
use super::{AppRequest, Request};

/// Parses the words after `run`.
///
/// # Errors
/// One sentence that says which word is wrong and why.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let mut request = Request::default();
    let mut words = words.into_iter();
    // Whether the last image has had its `--`.
    let mut had_args = false;
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("" | "---") => {}
            Some("--") => {
                let Some(app) = request.apps.last_mut() else {
                    return Err("an image is required before any app arguments".into());
                };
                if had_args {
                    return Err("only one set of app arguments allowed per image".into());
                }
                had_args = true;
                app.args = app_arguments(&mut words)?;
            }
            Some("--help" | "-h") => {
                request.help = true;
                return Ok(request);
            }
            Some(flag) if flag.starts_with('-') && flag.len() > 1 => apply(&mut request, flag, &mut words)?,
            _ => {
                request.apps.push(AppRequest { image: word, ..AppRequest::default() });
                had_args = false;
            }
        }
    }
    match request.apps.len() {
        0 => Err("must provide at least one image: try `rkt run FILE.aci`".into()),
        1 => Ok(request),
        _ if request.pod.interactive => Err("interactive option only supports one image".into()),
        _ => Ok(request),
    }
}

/// Everything up to `---` or the end, taken literally.
fn app_arguments(words: &mut impl Iterator<Item = OsString>) -> Result<Vec<String>, String> {
    let text = |word: OsString| word.into_string().map_err(|w| format!("app argument {w:?} is not valid UTF-8"));
    words.take_while(|w| w != "---").map(text).collect()
}

fn apply(request: &mut Request, word: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<(), String> {
    let (name, given) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_string())),
        None => (word, None),
    };
    let flag = name
        .strip_prefix("--")
        .and_then(|name| flags::FLAGS.iter().find(|f| f.name == name))
        .ok_or_else(|| format!("unknown flag {name}: see `rkt run --help`; what the app is to get follows `--`"))?;
    let value = match (given, flag.takes) {
        (Some(value), _) => value,
        (None, Takes::Nothing) => "true".into(),
        (None, Takes::Value(what)) => match rest.next().map(OsString::into_string) {
            Some(Ok(value)) => value,
            Some(Err(value)) => return Err(format!("{name}: {value:?} is not valid UTF-8")),
            None => return Err(format!("{name} needs a value: {name}={what}")),
        },
    };
    set(request, flag, &value).map_err(|why| format!("{name}: {why}"))
}

fn set(request: &mut Request, flag: &Flag, value: &str) -> Result<(), String> {
    match (flag.apply, request.apps.last_mut()) {
        (Apply::Pod(set), _) => set(&mut request.pod, value),
        (Apply::App(set), Some(app)) => set(app, value),
        (Apply::App(_), None) => Err("must follow an image".into()),
        (Apply::Mount(set), Some(app)) => set(&mut app.mounts, value),
        (Apply::Mount(set), None) => set(&mut request.pod.mounts, value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Network;
    use super::*;

    fn run(line: &str) -> Result<Request, String> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn images_arguments_and_separators() {
        let request = run("a.aci -- --port 80 -- x --- b.aci --- c -- ").unwrap();
        let apps: Vec<_> = request.apps.iter().map(|a| (a.image.to_str().unwrap(), a.args.join(" "))).collect();
        assert_eq!(apps, [("a.aci", "--port 80 -- x".into()), ("b.aci", String::new()), ("c", String::new())]);
    }

    #[test]
    fn pod_flags_go_anywhere_and_app_flags_to_the_last_image() {
        let request =
            run("--net=host a --user 5 --memory=16Mi b --user=x --hostname h --readonly-rootfs=true").unwrap();
        assert_eq!(request.pod.network, Network::Host);
        assert_eq!(request.pod.hostname.as_deref(), Some("h"));
        assert_eq!(request.apps[0].user.as_deref(), Some("5"));
        assert!(request.apps[0].memory.is_some());
        assert_eq!(request.apps[1].user.as_deref(), Some("x"));
        assert_eq!(request.apps[1].readonly_rootfs, Some(true));
    }

    #[test]
    fn a_mount_is_for_all_before_the_first_image_and_for_one_after() {
        let request = run("--mount volume=v,target=/all a --mount volume=w,target=/one b").unwrap();
        assert_eq!(request.pod.mounts[0].path, "/all");
        assert_eq!(request.apps[0].mounts[0].path, "/one");
        assert!(request.apps[1].mounts.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("-- x", "an image is required before any app arguments"),
            ("a -- x --- -- y", "only one set of app arguments allowed per image"),
            ("--net=none", "must provide at least one image"),
            ("--user=x a", "--user: must follow an image"),
            ("a --user", "--user needs a value"),
            ("a --bogus", "unknown flag --bogus"),
            ("a -p", "unknown flag -p"),
            ("--net=default a", "--net"),
            ("--net=host,x a", "--net"),
            ("a --readonly-rootfs=maybe", "--readonly-rootfs: must be set with a boolean"),
            ("--no-overlay=maybe a", "--no-overlay"),
            ("--interactive a b", "interactive option only supports one image"),
            ("a --memory=4095", "memory limit of 4095 bytes too low"),
            ("a --memory=x", "--memory"),
            ("a --cpu=-1", "--cpu"),
            ("a --cpu-shares=1", "--cpu-shares"),
            ("a --oom-score-adj=1001", "--oom-score-adj"),
            ("a --exec=/a --exec=/b", "--exec: given twice"),
            ("a --caps-retain=CAP_KILL --caps-remove=CAP_CHOWN", "cannot use both"),
            ("a --caps-retain=KILLER", "KILLER"),
            ("a --supplementary-gids=1,x", "must be integers"),
            ("a --environment=K", "key=value"),
            ("--set-env=K a", "must be specified as key=value"),
            ("--set-env=K=1 --set-env=K=2 a", "key \"K\" already set"),
            ("--volume=v,kind=host a", "--volume"),
            ("--volume=v,kind=empty --volume=v,kind=empty a", "duplicate volume name \"v\""),
            ("--mount=volume=v,target=x a", "absolute"),
            ("--mount=volume=v,path=/x a", "unknown mount parameter \"path\""),
            ("--hostname=a..b a", "--hostname"),
            ("a --name=Big", "--name"),
        ];
        for (line, part) in cases {
            let error = run(line).err().unwrap_or_else(|| panic!("{line} was accepted"));
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn help_wins_but_not_inside_app_arguments() {
        assert!(run("--net=host --help").unwrap().help);
        assert_eq!(run("a -- --help").unwrap().apps[0].args, ["--help"]);
    }
}
