//! The users of the image in the hands of an ordinary user: its subordinate ids, in a user namespace.

use appc_container::rootless::{self, Entry};
use appc_image::caller;

use crate::output;

/// Becomes root of a namespace in which an image's owners can be kept. Must come before the first thread.
///
/// Without one the build goes on with files that are all the user's, as far as that goes.
pub(crate) fn enter() {
    match rootless::enter_and_ask() {
        Ok((Entry::Root | Entry::NoIds, _)) => {}
        Ok((Entry::Entered, owners)) => {
            caller::set_mapped();
            if let Some(owners) = owners {
                caller::set_owners(move |file| owners.of(file));
            }
        }
        Err(error) => output::warning(format_args!("owners of files are lost: {error}")),
    }
}

/// Says what a build without subordinate ids lacks.
pub(crate) fn warn_of_losses() {
    if !rustix::process::geteuid().is_root() {
        output::warning(
            "please run this as superuser to avoid filesystem permissions issues: the files of the image will all be yours, \
             without set-user-ID bits and devices; or have subordinate ids: the programs newuidmap and newgidmap (package \
             uidmap), and ranges for you in /etc/subuid and /etc/subgid (usermod --add-subuids, --add-subgids)",
        );
    }
}

/// Says what an ordinary user without subordinate ids does not see of images.
pub(crate) fn warn_of_blindness() {
    if !rustix::process::geteuid().is_root() {
        output::warning(
            "owners, set-user-ID bits and devices are not compared: that takes root, or subordinate ids (see \"acbuild begin --help\")",
        );
    }
}
