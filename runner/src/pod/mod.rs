//! Pods: their directories, what is in them, and how they come to run.
//!
//! ```text
//! pods/<place>/<uuid>/      the place is the state, see `dir`
//!     pod                   pod manifest, complete: nothing of the command line is needed to read it
//!     runtime.json          times, images in use, network
//!     pid                   process ID of the pod's PID 1; its time is when the pod started
//!     apps/<app>/upper,work what the app wrote over its images
//!     apps/<app>/rootfs     instead of these when overlay could not be had
//!     apps/<app>/cgroup     its control group; written before that is made, so that it can always be removed
//!     apps/<app>/status     exit code and times, once the app has ended
//!     volumes/<volume>/     volumes of kind `empty`
//! ```
//!
//! Nothing here is synced to disk: a pod does not outlive the kernel it ran on, and what a crash leaves half-written
//! is an unlocked directory, which `gc` removes like any other.

pub mod app;
pub mod dir;
pub mod gc;
pub mod info;
pub mod launch;
pub mod lower;
pub mod prepare;
pub mod program;
pub mod rootfs;
pub mod state;
pub mod supervisor;
pub mod view;
