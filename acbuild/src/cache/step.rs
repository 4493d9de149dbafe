//! One step of a build, which the cache may know.

use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;

use super::change::{self, Effect};
use super::{Cache, Change, Kept, Key, Lock, Row, State, materialise};
use crate::context::{Build, Draft};
use crate::document::Document;
use crate::error::Result;
use crate::output;
use crate::run::deleted::Deleted;
use crate::session::Session;

/// What `begin` is called in keys.
const BEGIN: &str = "begin";

/// Adds to a key whatever the step depends on beside the files of the build.
pub(crate) type Inputs<'s> = dyn Fn(&mut Key<'_>) -> Result<()> + 's;

/// A step that changes files.
///
/// When the cache knows it, [`Step::replay`] is all there is to do. Else the build's files are there, and the step says
/// what it has made ([`Step::change`]) before it changes the first of them.
pub(crate) struct Step<'s> {
    session: &'s Session,
    build: &'s Build,
    keyed: Option<Keyed<'s>>,
    found: Option<(Kept, Lock)>,
    /// Why a build that has a cache does not use it for this step.
    why_not: Option<String>,
}

struct Keyed<'s> {
    cache: Cache,
    before: State,
    name: &'static str,
    inputs: &'s Inputs<'s>,
    key: String,
}

impl Keyed<'_> {
    fn compute(cache: &Cache, before: &State, name: &str, inputs: &Inputs<'_>) -> Result<String> {
        let mut key = Key::new(cache, &before.state, name);
        inputs(&mut key)?;
        Ok(key.finish())
    }
}

impl<'s> Step<'s> {
    /// The step `name` of `build`, which is open to be changed.
    pub(crate) fn new(
        session: &'s Session,
        build: &'s Build,
        name: &'static str,
        inputs: &'s Inputs<'s>,
    ) -> Result<Self> {
        let mut step = Step { session, build, keyed: None, found: None, why_not: None };
        let Some(before) = build.state() else { return Ok(step) };
        match Cache::of_build(&before, build.dir()) {
            Ok(Some(cache)) => match Keyed::compute(&cache, &before, name, inputs) {
                Ok(key) => match find(session, &cache, &key) {
                    Ok(found) => {
                        step.found = found;
                        step.keyed = Some(Keyed { cache, before, name, inputs, key });
                    }
                    Err(e) => step.why_not = Some(e.to_string()),
                },
                // If that is an error, the step will find it.
                Err(e) => step.why_not = Some(e.to_string()),
            },
            Ok(None) => step.why_not = Some("the cache does not know this build, which was begun elsewhere".into()),
            Err(e) => step.why_not = Some(e.to_string()),
        }
        if step.found.is_none() {
            materialise(build)?;
        }
        Ok(step)
    }

    /// What the step does, if that is known.
    pub(crate) fn known(&self) -> Option<&Change> {
        self.found.as_ref().map(|(kept, _)| &kept.change)
    }

    /// Does what is known, and puts `document` in place.
    pub(crate) fn replay(self, document: &dyn Document) -> Result<()> {
        let (Some(keyed), Some((kept, _lock))) = (self.keyed, self.found) else { return Ok(()) };
        let new = self.build.prepare(document)?;
        let mut state = keyed.before.after(&keyed.key, &kept);
        state.pending.push(kept.clone());
        self.build.set_state(state)?;
        new.commit()?;
        self.build.log(&Row::of(self.session, Some(true), Some(kept.size)));
        Ok(())
    }

    /// Keeps what the step has made. From here on it may change files, and [`Changing::finish`] comes last.
    pub(crate) fn change(self, change: Change, effect: &Effect<'_>) -> Result<Changing<'s>> {
        let Step { session, build, keyed, why_not, .. } = self;
        let mut changing = Changing { session, build, kept: None, why_not };
        if let Some(keyed) = keyed {
            match store(&keyed.cache, effect) {
                Ok(New { file, digest, size, lock }) => {
                    let kept = Kept { change, digest, size, deletes: false };
                    changing.kept = Some((keyed, kept, file, lock));
                }
                Err(why) => changing.why_not = Some(why),
            }
        }
        build.drop_state()?;
        Ok(changing)
    }
}

/// What is stored for a step, unless it is to be done whatever is.
pub(super) fn find(session: &Session, cache: &Cache, key: &str) -> Result<Option<(Kept, Lock)>> {
    if session.no_cache() { Ok(None) } else { cache.find(key) }
}

/// A result that has no name yet.
struct New {
    file: NamedTempFile,
    digest: String,
    size: u64,
    /// Keeps the file.
    lock: Lock,
}

fn store(cache: &Cache, effect: &Effect<'_>) -> Result<New, String> {
    let lock = cache.lock(FlockOperation::LockShared).map_err(|e| e.to_string())?;
    let (file, digest, size) = change::keep(cache, effect)?;
    Ok(New { file, digest, size, lock })
}

/// A step that is changing files. Broken off, it leaves the build without the cache.
pub(crate) struct Changing<'s> {
    session: &'s Session,
    build: &'s Build,
    kept: Option<(Keyed<'s>, Kept, NamedTempFile, Lock)>,
    why_not: Option<String>,
}

impl Changing<'_> {
    /// The step has succeeded.
    pub(crate) fn finish(self) -> Result<()> {
        let Changing { session, build, kept, mut why_not } = self;
        let mut size = None;
        if let Some((keyed, mut kept, file, _lock)) = kept {
            kept.deletes = !Deleted::load(build.dir())?.is_empty();
            size = Some(kept.size);
            match publish(session, &keyed, kept, file).map_err(|e| e.to_string()) {
                Ok(state) => match build.set_state(state) {
                    Ok(()) => {}
                    Err(e) => why_not = Some(e.to_string()),
                },
                Err(why) => why_not = Some(why),
            }
        }
        if let Some(why) = why_not {
            output::warning(format_args!("this step is not cached, nor are those after it: {why}"));
        }
        build.log(&Row::of(session, Some(false), size));
        Ok(())
    }
}

/// Gives the result, which is locked, to others, and returns the state that it leads to.
fn publish(session: &Session, keyed: &Keyed<'_>, kept: Kept, file: NamedTempFile) -> Result<State, String> {
    let Keyed { cache, before, name, inputs, key } = keyed;
    let again = Keyed::compute(cache, before, name, inputs).map_err(|e| e.to_string())?;
    if again != *key {
        return Err("what it was made of changed meanwhile".into());
    }
    let state = State { pending: Vec::new(), ..before.after(key, &kept) };
    cache.put(key, session.line(), kept, file).map_err(|e| e.to_string())?;
    Ok(state)
}

/// Fills the root file system of `draft`, which is empty, with what `inputs` say: from the cache, or with `act`.
pub(crate) fn fill(
    session: &Session,
    draft: &Draft,
    inputs: &Inputs<'_>,
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let Some(before) = draft.state() else { return act() };
    let Some(cache) = Cache::open(&before.store)? else { return act() };
    let key = Keyed::compute(&cache, &before, BEGIN, inputs);
    if let Ok(key) = &key
        && let Some((kept, lock)) = find(session, &cache, key)?
    {
        let (mut state, size) = (before.after(key, &kept), kept.size);
        state.pending.push(kept);
        draft.set_state(Some(state), Row::of(session, Some(true), Some(size)), Some(lock));
        return Ok(());
    }
    act()?;
    let kept = key.map_err(|e| e.to_string()).and_then(|key| {
        let rootfs = draft.rootfs().map_err(|e| e.to_string())?;
        let New { file, digest, size, lock: _lock } = store(&cache, &Effect::of_tree(&rootfs))?;
        let kept = Kept { change: Change::Whole, digest, size, deletes: false };
        let keyed = Keyed { cache, before, name: BEGIN, inputs, key };
        Ok((publish(session, &keyed, kept, file)?, size))
    });
    let (state, size) = match kept {
        Ok((state, size)) => (Some(state), Some(size)),
        Err(why) => {
            output::warning(format_args!("this build goes on without a cache: {why}"));
            (None, None)
        }
    };
    draft.set_state(state, Row::of(session, Some(false), size), None);
    Ok(())
}
