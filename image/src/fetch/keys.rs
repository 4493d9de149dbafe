//! Keys from the network, for those who trust whoever has the certificate of a host, or who compare fingerprints.

use std::sync::PoisonError;

use appc_spec::AcIdentifier;

use super::{Fetcher, Insecure, http};
use crate::error::Result;
use crate::trust::{Scope, discover_keys, fetch_keys};

impl Fetcher<'_> {
    /// Trusts the keys that the host of `name` announces, when nobody may sign that image yet and the caller wants so, or
    /// somebody who is asked does.
    pub(super) fn trust_announced_keys(&self, name: &AcIdentifier) -> Result<()> {
        let without_asking = self.options.trust_keys_from_https;
        if self.options.insecure.image || !(without_asking || self.reporter.can_review()) {
            return Ok(());
        }
        // One question at a time; the answer to the one before may be good for this image, too.
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.keystore.keyring(name)?.is_empty() {
            return Ok(());
        }
        // Whatever is allowed for images, this is about who is who.
        let Insecure { tls, http, pubkey, .. } = self.options.insecure;
        let (insecure_tls, insecure_http) = (tls && pubkey, http && pubkey);
        let client = http::Client::new(http::Options { insecure_tls, insecure_http, ..self.options.http.clone() })?;
        for address in discover_keys(&client, name)? {
            let keys = fetch_keys(&client, &address, true)?;
            // What came over plain http says nothing of who sent it.
            let without_asking = without_asking && address.starts_with("https://");
            let asked = || self.reporter.can_review() && self.reporter.review(name, &address, &keys);
            if !(without_asking || asked()) {
                self.reporter.note(&format!("not trusting the keys from {address}"));
                continue;
            }
            for key in keys {
                self.keystore.trust(&key, &Scope::Prefix(name.clone()))?;
                let (identity, fingerprint) = (key.identity(), key.fingerprint());
                self.reporter
                    .note(&format!("trusting the key of {identity} for {name}: {fingerprint}, from {address}"));
            }
        }
        Ok(())
    }
}
