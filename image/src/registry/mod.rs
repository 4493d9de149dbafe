//! Registries of OCI images: pull and push by the OCI distribution specification, 1.1.
//!
//! A [`Registry`] is one repository, seen as a [`Source`](crate::oci::Source) and as a [`Sink`](crate::oci::Sink). What
//! comes from it is not trusted: manifests are checked here, blobs by whoever reads them
//! ([`verified`](crate::oci::verified)), and their number, length and pace are bounded. Addresses that a manifest names
//! (`urls`) are never asked.
//!
//! Requests are anonymous until the registry asks who we are. What is secret goes to the registry and to the address
//! that it names for tokens, by https (or on this machine) and never on to where either redirects.

mod auth_d;
mod authorization;
mod blob;
mod challenge;
mod connection;
mod credentials;
mod docker_config;
mod pull;
mod push;
mod referrers;
mod refusal;
mod secret;
mod upload;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub use challenge::{Challenge, challenges};
pub use credentials::{Credentials, Login, docker_config_path};
pub use secret::Secret;

use crate::fetch::http;
use crate::oci::{Descriptor, Digest};
use crate::reference::DockerName;
use connection::Connection;

/// What is done with a repository: tokens are asked for no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Images are read.
    Pull,
    /// Images are written, too.
    Push,
}

/// An image in a registry, or where one is to be.
#[derive(Debug)]
pub struct Registry {
    name: DockerName,
    connection: Connection,
    /// What the name was found to mean.
    top: Mutex<Option<Descriptor>>,
    /// Manifests and indexes that have been read or written.
    documents: Mutex<BTreeMap<Digest, Document>>,
    /// Uploads that have been begun for nothing, when another repository turned out not to have the blob.
    uploads: Mutex<BTreeMap<Digest, String>>,
    /// What was added to lists that the registry does not keep itself, by what it is about.
    added: Mutex<BTreeMap<Digest, Vec<Descriptor>>>,
    /// Repositories of the same registry that blobs may be taken from.
    mount_from: Vec<String>,
}

#[derive(Debug, Clone)]
struct Document {
    media_type: String,
    bytes: Vec<u8>,
}

impl Registry {
    /// The image `name`, reached by `http`. Nothing is asked yet.
    pub fn new(http: Arc<http::Client>, name: DockerName, access: Access, credentials: Arc<Credentials>) -> Registry {
        let connection = Connection::new(http, &name, access, credentials);
        let (top, documents, uploads, added) = Default::default();
        Registry { name, connection, top, documents, uploads, added, mount_from: Vec::new() }
    }

    /// Blobs that another `repository` of the same registry has are not sent but taken from there.
    #[must_use]
    pub fn mount_from(mut self, repository: impl Into<String>) -> Registry {
        let repository = repository.into();
        self.connection.also_pull(&repository);
        self.mount_from.push(repository);
        self
    }

    /// The name it was made with.
    pub fn name(&self) -> &DockerName {
        &self.name
    }

    fn keep(&self, digest: &Digest, media_type: &str, bytes: &[u8]) {
        let document = Document { media_type: media_type.into(), bytes: bytes.to_vec() };
        locked(&self.documents).insert(digest.clone(), document);
    }
}

/// A lock's content, also after a thread that held it has panicked: everything here is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
