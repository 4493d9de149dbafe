//! Keys from the network, for those who trust whoever has the certificate of a host.

use appc_spec::AcIdentifier;

use super::{Fetcher, Insecure, http};
use crate::error::Result;
use crate::trust::{Scope, discover_keys, fetch_keys};

impl Fetcher<'_> {
    /// Trusts the keys that the host of `name` announces, when nobody may sign that image yet and the caller wants so.
    pub(super) fn trust_announced_keys(&self, name: &AcIdentifier) -> Result<()> {
        let wanted = self.options.trust_keys_from_https && !self.options.insecure.image;
        if !wanted || !self.keystore.keyring(name)?.is_empty() {
            return Ok(());
        }
        // Whatever is allowed for images, this is about who is who.
        let Insecure { tls, http, pubkey, .. } = self.options.insecure;
        let (insecure_tls, insecure_http) = (tls && pubkey, http && pubkey);
        let client = http::Client::new(http::Options { insecure_tls, insecure_http, ..self.options.http.clone() })?;
        for address in discover_keys(&client, name)? {
            for key in fetch_keys(&client, &address, true)? {
                self.keystore.trust(&key, &Scope::Prefix(name.clone()))?;
                let (identity, fingerprint) = (key.identity(), key.fingerprint());
                self.reporter
                    .note(&format!("trusting the key of {identity} for {name}: {fingerprint}, from {address}"));
            }
        }
        Ok(())
    }
}
