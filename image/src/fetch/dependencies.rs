//! What an image depends on, all the way down: each once, several at a time.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use appc_spec::{Dependency, ImageManifest, ImageName};

use super::{Fetcher, PullPolicy};
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::render::{self, missing};
use crate::store::StoredImage;

/// How many are fetched at a time.
const AT_ONCE: usize = 4;

/// A dependency and the image whose manifest has it.
struct Wanted {
    name: ImageName,
    dependency: Dependency,
    of: String,
}

impl Fetcher<'_> {
    /// Fetches everything that `image`, which came from `reference`, depends on, as the policy says. For what is on this
    /// host, or in the store, the network is asked only for what is not.
    ///
    /// # Errors
    /// [`Error::Dependency`] for the first of them that cannot be had, or is not what it must be.
    pub fn fetch_dependencies(&self, reference: &Reference, image: &StoredImage) -> Result<()> {
        let policy = match (self.options.policy, reference) {
            (PullPolicy::Update, Reference::Name(_) | Reference::Url(_)) => PullPolicy::Update,
            (PullPolicy::Never, _) => PullPolicy::Never,
            _ => PullPolicy::New,
        };
        self.fetch_below(&image.manifest, policy)?;
        render::check(self.store, &image.manifest, Some(&image.id))
    }

    /// The same for an image that is not in the store (yet), as the policy says.
    ///
    /// # Errors
    /// [`Error::Dependency`] for the first of them that cannot be had, or is not what it must be.
    pub fn fetch_dependencies_of(&self, manifest: &ImageManifest) -> Result<()> {
        self.fetch_below(manifest, self.options.policy)?;
        render::check(self.store, manifest, None)
    }

    fn fetch_below(&self, manifest: &ImageManifest, policy: PullPolicy) -> Result<()> {
        let (mut asked, mut known) = (HashSet::new(), HashSet::new());
        let mut manifests = vec![manifest.clone()];
        while !manifests.is_empty() {
            let wanted = manifests.iter().flat_map(wanted_by);
            let wanted: BTreeMap<String, Wanted> = wanted.filter(|(key, _)| asked.insert(key.clone())).collect();
            let wanted: Vec<Wanted> = wanted.into_values().collect();
            let mut images = self.fetch_all(&wanted, policy)?;
            images.retain(|image| known.insert(image.id.clone()));
            manifests = images.into_iter().map(|image| image.manifest).collect();
        }
        Ok(())
    }

    /// One level of them.
    fn fetch_all(&self, wanted: &[Wanted], policy: PullPolicy) -> Result<Vec<StoredImage>> {
        if wanted.len() < 2 || policy == PullPolicy::Never {
            return wanted.iter().map(|wanted| self.one(wanted, policy)).collect();
        }
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut fetched = Vec::new();
            while let Some(wanted) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                fetched.push(self.one(wanted, policy));
            }
            fetched
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE.min(wanted.len())).map(|_| scope.spawn(worker)).collect();
            // A worker that panics takes the program with it.
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
                .collect()
        })
    }

    fn one(&self, wanted: &Wanted, policy: PullPolicy) -> Result<StoredImage> {
        self.kept.keeping(self.store, || self.find(wanted, policy))
    }

    fn find(&self, wanted: &Wanted, policy: PullPolicy) -> Result<StoredImage> {
        let wrong =
            |rule: String| Error::Dependency { dependency: wanted.name.to_string(), image: wanted.of.clone(), rule };
        let id = wanted.dependency.image_id.as_ref();
        // What an ID names never changes.
        match id.map(|id| self.store.get(id)) {
            None | Some(Err(Error::NotStored(_))) => {}
            Some(stored) => return stored,
        }
        let image = self.by_name_for(&wanted.name, policy, id.is_some()).map_err(|error| {
            wrong(match (error, missing(self.store, &wanted.dependency)) {
                (Error::NotStored(_), None) => "is not in the store: fetch it with `rkt fetch FILE`".into(),
                (Error::NotStored(_), Some(rule)) => format!("{rule}: fetch it with `rkt fetch FILE`"),
                (error, None) => format!("is not in the store and cannot be fetched: {error}"),
                (error, Some(rule)) => format!("{rule}, and it cannot be fetched: {error}"),
            })
        })?;
        match id {
            Some(id) if *id != image.id => {
                Err(wrong(format!("must have the image ID {}, what was found has {}", id.short(), image.id.short())))
            }
            _ => Ok(image),
        }
    }

    /// `elsewhere`: what is in the store by that name is not it.
    fn by_name_for(&self, name: &ImageName, policy: PullPolicy, elsewhere: bool) -> Result<StoredImage> {
        match policy {
            PullPolicy::New if elsewhere => self.discover(name, None),
            _ => self.by_name(name, policy, None),
        }
    }
}

/// The dependencies in `manifest`, each with what tells it from others.
fn wanted_by(manifest: &ImageManifest) -> impl Iterator<Item = (String, Wanted)> {
    manifest.dependencies.iter().map(|dependency| {
        let name = ImageName { name: dependency.image_name.clone(), labels: dependency.labels.clone() };
        let id = dependency.image_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let wanted = Wanted { name, dependency: dependency.clone(), of: manifest.name.to_string() };
        (format!("{} {id}", wanted.name), wanted)
    })
}
