//! From a configuration to a manifest.

use serde_json::{Value, json};

use super::User;
use super::build::{CAPABILITIES, PATH};
use crate::environment::{Environment, check_name};
use crate::error::Place;
use crate::json::{Fields, Read};
use crate::oci::{RESOLVED_USER, other_env, set_other_env};
use crate::{AcIdentifier, App, Error, ImageManifest, Isolators, host_arch};

/// A manifest for what the configuration says, which stays in the configuration for everything else.
pub(super) fn foreign(config: &Value, name: AcIdentifier) -> Result<ImageManifest, Error> {
    let mut manifest = ImageManifest::new(name);
    let arch = config.pointer("/annotations/org.opencontainers.image.architecture").and_then(Value::as_str);
    let arch = arch.map_or(host_arch(), |arch| if arch == "arm64" { "aarch64" } else { arch });
    manifest.labels.set("arch".parse()?, arch);
    manifest.labels.set("os".parse()?, "linux");
    if let Some(process) = config.get("process").filter(|process| !process.is_null()) {
        manifest.app = Some(app(process, config).in_field("process")?);
        set_other_env(&mut manifest, &other_entries(process.get("env")).iter().collect::<Vec<_>>());
    }
    Ok(manifest)
}

fn app(process: &Value, config: &Value) -> Result<App, Error> {
    let mut fields = Fields::of(process.clone())?;
    let mut user = Fields::of(fields.take_value("user").filter(|v| !v.is_null()).unwrap_or_else(|| json!({})))?;
    let number = |value: Option<u32>| value.unwrap_or(0).to_string();
    let mut app = App::new();
    app.exec = fields.take_or_default("args")?;
    app.user = number(user.take("uid").in_field("user")?);
    app.group = number(user.take("gid").in_field("user")?);
    app.supplementary_gids = user.take_or_default("additionalGids").in_field("user")?;
    let cwd: Option<String> = fields.take("cwd")?;
    app.working_directory = cwd.filter(|path| path != "/" && !path.is_empty());
    app.environment = environment(&fields.take_or_default::<Vec<String>>("env")?);
    let bounding = process.pointer("/capabilities/bounding").cloned().unwrap_or_else(|| json!([]));
    let bounding = Vec::<String>::read(bounding).in_field("bounding").in_field("capabilities")?;
    capabilities(&bounding, &mut app.isolators)?;
    if fields.take_or_default("noNewPrivileges")? {
        app.isolators.set("os/linux/no-new-privileges".parse()?, json!(true))?;
    }
    if let Some(score) = fields.take::<i64>("oomScoreAdj")? {
        app.isolators.set("os/linux/oom-score-adj".parse()?, json!(score))?;
    }
    limits(config, &mut app.isolators)?;
    Ok(app)
}

/// What App Container has no name for stays in the configuration.
fn environment(variables: &[String]) -> Environment {
    let mut environment = Environment::new();
    for (name, value) in variables.iter().filter_map(|variable| variable.split_once('=')) {
        if check_name(name).is_ok() {
            environment.set(name, value);
        }
    }
    environment
}

fn capabilities(bounding: &[String], isolators: &mut Isolators) -> Result<(), Error> {
    let is_default =
        bounding.len() == CAPABILITIES.len() && CAPABILITIES.iter().all(|name| bounding.iter().any(|b| b == name));
    if is_default {
        return Ok(());
    }
    // A set that is retained cannot be empty.
    match bounding.is_empty() {
        true => isolators.set("os/linux/capabilities-remove-set".parse()?, json!({ "set": CAPABILITIES })),
        false => isolators.set("os/linux/capabilities-retain-set".parse()?, json!({ "set": bounding })),
    }
}

fn limits(config: &Value, isolators: &mut Isolators) -> Result<(), Error> {
    let amount = |name: &str| config.pointer(name).and_then(Value::as_i64).filter(|amount| *amount > 0);
    if let Some(bytes) = amount("/linux/resources/memory/limit") {
        isolators.set("resource/memory".parse()?, json!({ "limit": bytes.to_string() }))?;
    }
    if let (Some(quota), Some(period)) = (amount("/linux/resources/cpu/quota"), amount("/linux/resources/cpu/period")) {
        let milli = (quota.saturating_mul(1000) / period).max(1);
        isolators.set("resource/cpu".parse()?, json!({ "limit": format!("{milli}m") }))?;
    }
    Ok(())
}

/// Who an app of this configuration was found to run as.
pub(super) fn user(config: &Value, home: &str) -> User {
    let resolved = config.get("annotations").and_then(|all| all.get(RESOLVED_USER)).and_then(Value::as_str);
    let resolved =
        resolved.and_then(|text| text.split(':').map(|number| number.parse().ok()).collect::<Option<Vec<_>>>());
    if let Some([uid, gid, groups @ ..]) = resolved.as_deref() {
        return User { uid: *uid, gid: *gid, groups: groups.to_vec(), home: home.to_owned() };
    }
    let number = |name: &str| {
        let number = config.pointer(name).and_then(Value::as_u64);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    };
    let (uid, gid) = (number("/process/user/uid"), number("/process/user/gid"));
    User { uid, gid, groups: Vec::new(), home: home.to_owned() }
}

/// The ordinary user of the host that it was made for.
pub(super) fn rootless(config: &Value) -> Option<(u32, u32)> {
    let host = |name: &str| {
        let mappings = config.pointer(name)?.as_array().filter(|all| all.len() == 1)?;
        u32::try_from(mappings[0].get("hostID")?.as_u64()?).ok()
    };
    Some((host("/linux/uidMappings")?, host("/linux/gidMappings")?))
}

/// The home directory in the configuration's environment.
pub(super) fn home(config: &Value) -> String {
    let env = config.pointer("/process/env").and_then(Value::as_array);
    let home = env.and_then(|env| env.iter().filter_map(Value::as_str).find_map(|v| v.strip_prefix("HOME=")));
    home.unwrap_or("/").to_owned()
}

/// Takes over what differs between the configuration that `manifest` made and the one that `now` was read from.
pub(super) fn merge(manifest: &mut ImageManifest, then: &Value, config: &Value, now: ImageManifest) {
    let Some(now) = now.app else { return };
    let app = manifest.app.get_or_insert_with(App::new);
    let mut others = None;
    let edited = |field: &str| then.pointer(field) != config.pointer(field);
    if edited("/process/args") {
        app.exec = now.exec;
    }
    if edited("/process/cwd") {
        app.working_directory = now.working_directory;
    }
    if edited("/process/user") {
        (app.user, app.group, app.supplementary_gids) = (now.user, now.group, now.supplementary_gids);
    }
    if edited("/process/env") {
        let had_path = app.environment.get("PATH").is_some();
        let had_home = app.environment.get("HOME").is_some();
        app.environment = now.environment;
        others = Some(other_entries(config.pointer("/process/env")));
        // Defaults are no part of the image.
        if !had_path && app.environment.get("PATH") == Some(PATH) {
            app.environment.remove("PATH");
        }
        if !had_home {
            app.environment.remove("HOME");
        }
    }
    for (field, names) in [
        ("/process/capabilities", &["os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set"][..]),
        ("/process/noNewPrivileges", &["os/linux/no-new-privileges"]),
        ("/process/oomScoreAdj", &["os/linux/oom-score-adj"]),
        ("/linux/resources/memory", &["resource/memory"]),
        ("/linux/resources/cpu", &["resource/cpu", "os/linux/cpu-shares"]),
    ] {
        if edited(field) {
            for name in names {
                app.isolators.remove(name);
            }
            let found = now.isolators.iter().filter(|entry| names.contains(&entry.name.as_str()));
            for entry in found {
                // It was set before in just this form.
                let _known = app.isolators.set(entry.name.clone(), entry.value.clone());
            }
        }
    }
    if let Some(others) = others {
        // What no runtime takes was not there to be edited.
        let unnamed =
            other_env(manifest).into_iter().filter(|entry| entry.split_once('=').is_none_or(|(n, _)| n.is_empty()));
        let others: Vec<String> = unnamed.chain(others).collect();
        set_other_env(manifest, &others.iter().collect::<Vec<_>>());
    }
}

/// Entries of the environment whose names App Container does not have.
fn other_entries(env: Option<&Value>) -> Vec<String> {
    let entries = env.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let is_other = |entry: &&str| entry.split_once('=').is_none_or(|(name, _)| check_name(name).is_err());
    entries.filter(is_other).map(str::to_owned).collect()
}
