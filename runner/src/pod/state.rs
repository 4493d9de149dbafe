//! Where pods lie and what that means.

/// The directory a pod lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Made a moment ago, perhaps not yet locked.
    Embryo,
    /// Images are being looked up and its files written.
    Prepare,
    /// Runs or has run.
    Run,
    /// Has run and was marked for removal.
    ExitedGarbage,
    /// Never ran and was marked for removal.
    Garbage,
}

impl Place {
    /// In the order of a life: a pod that moves while they are walked in this order is seen at least once.
    pub const ALL: [Place; 5] = [Place::Embryo, Place::Prepare, Place::Run, Place::ExitedGarbage, Place::Garbage];

    /// The directory's name.
    pub fn name(self) -> &'static str {
        match self {
            Place::Embryo => "embryo",
            Place::Prepare => "prepare",
            Place::Run => "run",
            Place::ExitedGarbage => "exited-garbage",
            Place::Garbage => "garbage",
        }
    }
}

/// The state of a pod, as people call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Just made.
    Embryo,
    /// Being prepared by a living process.
    Preparing,
    /// The process that prepared it is gone.
    AbortedPrepare,
    /// Its processes live.
    Running,
    /// It has ended.
    Exited,
    /// It has ended and is marked for removal.
    ExitedGarbage,
    /// It has ended and is being removed.
    ExitedDeleting,
    /// It never ran and is marked for removal.
    Garbage,
    /// It never ran and is being removed.
    Deleting,
}

impl State {
    /// The word that is printed.
    pub fn name(self) -> &'static str {
        match self {
            State::Embryo => "embryo",
            State::Preparing => "preparing",
            State::AbortedPrepare => "aborted prepare",
            State::Running => "running",
            State::Exited => "exited",
            State::ExitedGarbage => "exited garbage",
            State::ExitedDeleting => "exited deleting",
            State::Garbage => "garbage",
            State::Deleting => "deleting",
        }
    }

    /// Whether the pod has run and its processes are gone.
    pub fn has_ended(self) -> bool {
        matches!(self, State::Exited | State::ExitedGarbage | State::ExitedDeleting)
    }
}
