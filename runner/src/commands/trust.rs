//! `rkt trust`

use std::path::Path;

use appc_image::fetch::http;
use appc_image::trust::{self, Key, Keystore, Scope};
use appc_spec::AcIdentifier;

use crate::cli::Global;
use crate::failure::{Context, Failure, OWN_ERROR, Outcome};
use crate::{output, review};

/// Which keys to trust, and for what.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt trust --prefix=example.com/app ./key.asc")]
pub struct Args {
    /// Files or https addresses of public keys; those that the host of the prefix names when there are none
    #[arg(value_name = "PUBKEY")]
    keys: Vec<String>,
    /// Trusts the keys for the image of this name and those below it
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
    /// Trusts the keys for every image
    #[arg(long)]
    root: bool,
    /// Asks nothing
    #[arg(long)]
    skip_fingerprint_review: bool,
    /// Fetches keys over plain http, too
    #[arg(long)]
    insecure_allow_http: bool,
    /// Lists what is trusted
    #[arg(long, conflicts_with_all = ["keys", "remove"])]
    list: bool,
    /// Trusts the key of this fingerprint no longer, for --prefix or --root
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "keys")]
    remove: Option<String>,
}

/// Adds keys to the key store, or lists or removes them.
pub fn run(global: &Global, args: Args) -> Outcome {
    let store = Keystore::open(&global.config);
    if args.list {
        return list(&store);
    }
    let scope = scope(&args)?;
    if let Some(fingerprint) = &args.remove {
        store.distrust(fingerprint, &scope)?;
        print(&format!("Removed key {fingerprint} for {scope}\n"))?;
        return Ok(0);
    }
    let options = http::Options { insecure_http: args.insecure_allow_http, ..http::Options::default() };
    let client = http::Client::new(options)?;
    let named_by_a_page = args.keys.is_empty();
    let addresses = match &scope {
        Scope::Prefix(prefix) if named_by_a_page => trust::discover_keys(&client, prefix)?,
        _ => args.keys,
    };
    let mut refused = 0;
    for address in addresses {
        if address.starts_with("http://") && !args.insecure_allow_http {
            return Err(Failure::new(format!("{address}: keys come over https only, or with --insecure-allow-http")));
        }
        let keys = read(&client, &address, named_by_a_page)?;
        if args.skip_fingerprint_review {
            print(&format!("Trusting {address:?} for prefix {:?} without fingerprint review.\n", prefix_of(&scope)))?;
        } else if review::ask(prefix_of(&scope), &address, &keys, print)? {
            print(&format!("Trusting {address:?} for prefix {:?} after fingerprint review.\n", prefix_of(&scope)))?;
        } else {
            print(&format!("Not trusting {address:?}\n"))?;
            refused += 1;
            continue;
        }
        for key in keys {
            if let Some(fault) = key.fault() {
                global.warn(format!("{address}: {fault}: nothing that is signed with it is accepted"));
            }
            let path = store.trust(&key, &scope)?;
            let what = match &scope {
                Scope::Root => "root key".into(),
                Scope::Prefix(prefix) => format!("key for prefix \"{prefix}\""),
            };
            print(&format!("Added {what} at \"{}\"\n", path.display()))?;
        }
    }
    Ok(if refused > 0 { OWN_ERROR } else { 0 })
}

/// What the keys are to be trusted for.
fn scope(args: &Args) -> Result<Scope, Failure> {
    match (&args.prefix, args.root) {
        (Some(_), true) => Err(Failure::new("--root and --prefix usage mutually exclusive")),
        (Some(prefix), false) if prefix.contains("://") => Err(Failure::new(format!(
            "--prefix must not contain a URL scheme, omit {}",
            &prefix[..prefix.find("://").unwrap_or(0) + 3]
        ))),
        (Some(prefix), false) => {
            let prefix: AcIdentifier = prefix.parse().context(format!("--prefix {prefix:?}"))?;
            Ok(Scope::Prefix(prefix))
        }
        (None, true) if args.keys.is_empty() && args.remove.is_none() => {
            Err(Failure::new("keys for every image cannot be searched: give the file or the https address of one"))
        }
        (None, true) => Ok(Scope::Root),
        (None, false) if args.remove.is_some() => Err(Failure::new(
            "--remove: say where the key is trusted, with --prefix=example.com/name or --root: `rkt trust --list` shows it",
        )),
        (None, false) => Err(Failure::new(
            "aborting due to implicit unbounded trust (root domain): trust the key for one publisher with --prefix=example.com/name, \
             or for every image with --root",
        )),
    }
}

fn prefix_of(scope: &Scope) -> &str {
    match scope {
        Scope::Root => "",
        Scope::Prefix(prefix) => prefix.as_str(),
    }
}

/// The keys in a file or at an address.
fn read(client: &http::Client, address: &str, foreign: bool) -> Result<Vec<Key>, Failure> {
    if address.starts_with("https://") || address.starts_with("http://") || foreign {
        return Ok(trust::fetch_keys(client, address, foreign)?);
    }
    let path = Path::new(address.strip_prefix("file://").unwrap_or(address));
    let content = review::read(path).context(format!("reading key {}", path.display()))?;
    trust::fingerprints(&content).context(path.display())
}

fn list(store: &Keystore) -> Outcome {
    let mut rows = vec![vec!["PREFIX".to_owned(), "FINGERPRINT".to_owned(), "IDENTITY".to_owned()]];
    for trusted in store.list()? {
        let prefix = match &trusted.scope {
            Scope::Root => "(every image)".to_owned(),
            Scope::Prefix(prefix) => prefix.to_string(),
        };
        let describe = |key: Key| match key.fault() {
            Some(fault) => format!("{} ({fault})", key.identity()),
            None => key.identity(),
        };
        let identity = trusted.read().map_or_else(|error| format!("({error})"), describe);
        rows.push(vec![prefix, trusted.fingerprint, identity]);
    }
    print(&output::table(&rows))?;
    Ok(0)
}

fn print(text: &str) -> Result<(), Failure> {
    output::print(text).context("writing to standard output")
}
