//! `rkt run`

use std::ffi::OsString;

use appc_image::render;
use appc_image::store::{Store, StoredImage};

use crate::cli::Global;
use crate::failure::{Context, Failure, Outcome};
use crate::images::{self, Screen};
use crate::output;
use crate::pod::launch::{self, Launch};
use crate::pod::prepare::{self, environment};
use crate::request::{self, AppRequest, PodOptions, Request, flags};

/// What `run` takes: a grammar of its own, see [`crate::request`].
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, override_help = flags::help())]
pub struct Args {
    /// Options and images; `rkt run --help` tells more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    words: Vec<OsString>,
}

/// Runs images as the apps of a new pod, and returns the exit status of the first app that failed.
pub fn run(global: &Global, args: Args) -> Outcome {
    let request = request::parse(args.words).map_err(Failure::new)?;
    if request.help {
        output::print(&flags::help()).context("writing to standard output")?;
        return Ok(0);
    }
    let global = &Global {
        dir: request.pod.dir.clone().unwrap_or_else(|| global.dir.clone()),
        debug: global.debug || request.pod.debug,
        config: global.config.clone(),
        insecure: global.insecure.and(request.pod.insecure),
        trust_keys_from_https: global.trust_keys_from_https || request.pod.trust_keys_from_https,
        limit: request.pod.max_image_size.unwrap_or(global.limit),
        command: global.command,
    };
    global.require_root()?;
    // Before anything is opened: the program starts once more.
    appc_container::protect::protect(c"rkt").context("starting")?;
    let store = global.new_store()?;
    let mut found = Vec::new();
    let outcome = fetch_and_launch(global, &request, &store, &mut found);
    if outcome.is_err() {
        for (app, image) in request.apps.iter().zip(&found) {
            if let Err(failure) = images::take_back(&store, &app.image, image) {
                global.warn(failure.line());
            }
        }
    }
    outcome
}

/// `found` are the images that could be had.
fn fetch_and_launch(global: &Global, request: &Request, store: &Store, found: &mut Vec<StoredImage>) -> Outcome {
    let screen = Screen::new(global);
    let fetcher = images::fetcher(global, store, &screen, request.pod.pull_policy.unwrap_or_default())?;
    for (number, app) in request.apps.iter().enumerate() {
        let same = |other: &AppRequest| (&other.image, &other.signature) == (&app.image, &app.signature);
        // Once for all that are the same: a second time it was there already, also when nothing comes of the run.
        let image = match request.apps[..number].iter().position(same) {
            Some(earlier) => found[earlier].clone(),
            None => images::find(&fetcher, &app.image, app.signature.as_deref())?,
        };
        found.push(image);
    }
    let (manifest, warnings) = prepare::manifest(request, found, &variables(&request.pod)?)?;
    let rendered = found.iter().map(|image| render::layers(store, image)).collect::<Result<_, _>>()?;
    drop(fetcher);
    launch::run(global, Launch { options: &request.pod, manifest, rendered, warnings })
}

/// Environment variables from the command line and the caller.
fn variables(options: &PodOptions) -> Result<environment::Variables, Failure> {
    let mut variables = environment::Variables::default();
    if options.inherit_env {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        // What a shell keeps in its environment for itself has no valid name.
        variables.inherited =
            std::env::vars_os().filter_map(text).filter(|(name, _)| environment::is_name(name)).collect();
    }
    for file in &options.set_env_files {
        let read = environment::read_file(file).context(format!("--set-env-file: {}", file.display()))?;
        variables.set.extend(read);
    }
    variables.set.extend(options.set_env.iter().cloned());
    Ok(variables)
}
