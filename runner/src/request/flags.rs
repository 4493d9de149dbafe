//! The flags of `rkt run`: one row each, with its help and what it does.

use std::fmt::Write;

use appc_spec::{Mount, Quantity, Volume};

use super::{AppRequest, Network, PodOptions, values};

/// What follows a flag's name.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// Nothing, or `=true`, `=false`.
    Nothing,
    /// A value, called so in the help.
    Value(&'static str),
}

/// Where a flag's value goes.
#[derive(Debug, Clone, Copy)]
pub enum Apply {
    /// To the pod, wherever the flag stands.
    Pod(fn(&mut PodOptions, &str) -> Result<(), String>),
    /// To the image before it.
    App(fn(&mut AppRequest, &str) -> Result<(), String>),
    /// To the image before it, or to every app when there is none yet.
    Mount(fn(&mut Vec<Mount>, &str) -> Result<(), String>),
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// The name without dashes.
    pub name: &'static str,
    /// What follows it.
    pub takes: Takes,
    /// One line of help.
    pub help: &'static str,
    /// What it does.
    pub apply: Apply,
}

const fn pod(name: &'static str, takes: Takes, help: &'static str, set: SetPod) -> Flag {
    Flag { name, takes, help, apply: Apply::Pod(set) }
}

const fn app(name: &'static str, what: &'static str, help: &'static str, set: SetApp) -> Flag {
    Flag { name, takes: Takes::Value(what), help, apply: Apply::App(set) }
}

type SetPod = fn(&mut PodOptions, &str) -> Result<(), String>;
type SetApp = fn(&mut AppRequest, &str) -> Result<(), String>;
use Takes::{Nothing, Value};

/// Every flag of `rkt run`.
pub static FLAGS: &[Flag] = &[
    pod(
        "net",
        Value("host|none"),
        "Network: `host` shares the host's; otherwise the pod has its own, with loopback",
        net,
    ),
    pod(
        "volume",
        Value("NAME,kind=host|empty,…"),
        "A volume: kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL], or kind=empty[,mode=0755][,uid=0][,gid=0]",
        volume,
    ),
    pod("set-env", Value("KEY=VALUE"), "An environment variable for every app", |pod, value| {
        let (key, value) = values::key_value(value)?;
        if pod.set_env.iter().any(|(k, _)| *k == key) {
            return Err(format!("key {key:?} already set"));
        }
        pod.set_env.push((key, value));
        Ok(())
    }),
    pod("set-env-file", Value("FILE"), "A file of KEY=VALUE lines for every app", |pod, value| {
        pod.set_env_files.push(value.into());
        Ok(())
    }),
    pod("inherit-env", Nothing, "Hands on the caller's environment where the image sets nothing", |pod, value| {
        switch(&mut pod.inherit_env, value)
    }),
    pod("hostname", Value("NAME"), "The pod's host name [default: rkt-UUID]", |pod, value| {
        once(&mut pod.hostname, values::hostname(value)?)
    }),
    pod("uuid-file-save", Value("FILE"), "Writes the pod's UUID to a file", |pod, value| {
        once(&mut pod.uuid_file_save, value.into())
    }),
    pod("no-overlay", Nothing, "Copies images instead of stacking them", |pod, value| {
        switch(&mut pod.no_overlay, value)
    }),
    pod("interactive", Nothing, "Gives the app a terminal, also when standard input is none", |pod, value| {
        switch(&mut pod.interactive, value)
    }),
    pod("dir", Value("DIR"), "Data directory", |pod, value| once(&mut pod.dir, crate::cli::directory(value)?)),
    pod("debug", Nothing, "Says more on standard error", |pod, value| switch(&mut pod.debug, value)),
    pod("pull-policy", Value("never|new|update"), "When images are fetched [default: new]", |pod, value| {
        once(&mut pod.pull_policy, value.parse()?)
    }),
    pod(
        "insecure-options",
        Value("LIST"),
        "Goes without checks: image, tls, http, pubkey, all-fetch, all",
        |pod, value| {
            pod.insecure = pod.insecure.and(value.parse()?);
            Ok(())
        },
    ),
    pod("max-image-size", Value("SIZE"), "Takes no image that is larger, packed or unpacked", |pod, value| {
        once(&mut pod.max_image_size, value.parse()?)
    }),
    pod("trust-keys-from-https", Nothing, "Trusts the keys that the host of an image announces", |pod, value| {
        switch(&mut pod.trust_keys_from_https, value)
    }),
    Flag {
        name: "mount",
        takes: Value("volume=NAME,target=PATH"),
        help: "Mounts a volume: before the first image in every app, after an image in that app",
        apply: Apply::Mount(|mounts, value| {
            mounts.push(values::mount(value)?);
            Ok(())
        }),
    },
    app("signature", "FILE", "The image's detached signature", |app, value| once(&mut app.signature, value.into())),
    app("exec", "PATH", "Runs this instead of the image's command", |app, value| once(&mut app.exec, value.into())),
    app("user", "USER", "User: a name, a number, or a path whose owner is meant", |app, value| {
        once(&mut app.user, value.into())
    }),
    app("group", "GROUP", "Group: a name, a number, or a path whose group is meant", |app, value| {
        once(&mut app.group, value.into())
    }),
    app("supplementary-gids", "N,N…", "Supplementary group numbers", |app, value| {
        let number = |n: &str| n.trim().parse().map_err(|_| format!("must be integers, {n:?} is none"));
        once(&mut app.supplementary_gids, value.split(',').map(number).collect::<Result<_, _>>()?)
    }),
    app("name", "NAME", "The app's name in the pod [default: last part of the image's name]", |app, value| {
        once(&mut app.name, value.parse().map_err(|e: appc_spec::Error| e.to_string())?)
    }),
    app("working-dir", "PATH", "The app's working directory", |app, value| match value.starts_with('/') {
        true => once(&mut app.working_dir, value.into()),
        false => Err(format!("{value:?} must be an absolute path")),
    }),
    app("environment", "KEY=VALUE", "An environment variable for this app", |app, value| {
        app.environment.push(values::key_value(value)?);
        Ok(())
    }),
    app("memory", "QUANTITY", "Memory limit, such as 64Mi", memory),
    app("cpu", "QUANTITY", "CPU limit: 500m is half a core", |app, value| {
        let quantity = quantity(value)?;
        match quantity.milli_value() > 0 {
            true => once(&mut app.cpu, quantity),
            false => Err(format!("{value:?} must be more than 0")),
        }
    }),
    app("cpu-shares", "N", "CPU weight, 2 to 262144 (1024 is usual)", |app, value| {
        once(&mut app.cpu_shares, within(value, 2, 262_144)?.unsigned_abs())
    }),
    app("oom-score-adj", "N", "How soon the app is killed when memory runs out, -1000 to 1000", |app, value| {
        // In range of i32: -1000 to 1000.
        once(&mut app.oom_score_adj, within(value, -1000, 1000)? as i32)
    }),
    app("caps-retain", "CAP,CAP…", "The capabilities the app has, and no others", |app, value| {
        once(&mut app.caps_retain, values::capabilities(value)?)?;
        either_caps(app)
    }),
    app("caps-remove", "CAP,CAP…", "Capabilities to take away from the default ones", |app, value| {
        once(&mut app.caps_remove, values::capabilities(value)?)?;
        either_caps(app)
    }),
    app("readonly-rootfs", "BOOL", "Mounts the app's root file system read-only", |app, value| {
        once(&mut app.readonly_rootfs, values::boolean(value).ok_or("must be set with a boolean")?)
    }),
];

fn net(pod: &mut PodOptions, value: &str) -> Result<(), String> {
    pod.network = match value {
        "host" => Network::Host,
        "none" => Network::Loopback,
        _ => return Err(format!("network {value:?} is not known: use `host`, `none`, or no --net for loopback only")),
    };
    Ok(())
}

fn volume(pod: &mut PodOptions, value: &str) -> Result<(), String> {
    let volume: Volume = value.parse().map_err(|e| format!("{value:?}: {e}"))?;
    if pod.volumes.iter().any(|v| v.name == volume.name) {
        return Err(format!("duplicate volume name \"{}\"", volume.name));
    }
    pod.volumes.push(volume);
    Ok(())
}

/// Less than a page can only be a mistake in the unit.
const SMALLEST_MEMORY: i64 = 4096;

fn memory(app: &mut AppRequest, value: &str) -> Result<(), String> {
    let quantity = quantity(value)?;
    match quantity.value() {
        bytes if bytes < SMALLEST_MEMORY => {
            Err(format!("memory limit of {bytes} bytes too low. Try a reasonable value, such as --memory=16M"))
        }
        _ => once(&mut app.memory, quantity),
    }
}

fn quantity(text: &str) -> Result<Quantity, String> {
    text.parse().map_err(|e: appc_spec::Error| format!("{text:?}: {e}"))
}

fn within(text: &str, least: i64, most: i64) -> Result<i64, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} must be a number from {least} to {most}")),
    }
}

fn either_caps(app: &AppRequest) -> Result<(), String> {
    match (&app.caps_retain, &app.caps_remove) {
        (Some(_), Some(_)) => Err("cannot use both --caps-retain and --caps-remove on the same image".into()),
        _ => Ok(()),
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err("given twice".into()),
    }
}

fn switch(place: &mut bool, value: &str) -> Result<(), String> {
    *place = values::boolean(value).ok_or_else(|| format!("{value:?} is not a boolean"))?;
    Ok(())
}

/// The text of `rkt run --help`.
pub fn help() -> String {
    let mut text = String::from(
        "Runs images as the apps of a pod\n\n\
         Usage: rkt run [POD OPTIONS] IMAGE [APP OPTIONS] [-- ARGS... [---]] [IMAGE2 ...]\n\n\
         IMAGE is an image ID (sha512-…, may be shortened), a name: NAME[:VERSION][,LABEL=VALUE...], a file, or one of\n\
         https://…, docker://[REGISTRY/]REPOSITORY[:TAG][@DIGEST], oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:TAG],\n\
         bundle:DIR\n\n\
         An app that is alone in its pod has the caller's standard input; of several, none has.\n\n\
         Examples:\n  rkt run hello.aci\n  \
         rkt run --volume=data,kind=host,source=/srv/data example.com/db:1.0 --mount=volume=data,target=/data -- --verbose\n",
    );
    section(&mut text, "Pod options", |apply| matches!(apply, Apply::Pod(_) | Apply::Mount(_)));
    section(&mut text, "App options, after the image they are for", |apply| !matches!(apply, Apply::Pod(_)));
    text
}

fn section(text: &mut String, title: &str, belongs: fn(&Apply) -> bool) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{title}:");
    for flag in FLAGS.iter().filter(|f| belongs(&f.apply)) {
        let _ = match flag.takes {
            Takes::Nothing => writeln!(text, "  --{}\n          {}", flag.name, flag.help),
            Takes::Value(what) => writeln!(text, "  --{}={what}\n          {}", flag.name, flag.help),
        };
    }
}
