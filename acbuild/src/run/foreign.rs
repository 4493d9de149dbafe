//! Programs that this machine does not execute by itself.

use std::borrow::Cow;

use appc_image::render::Rendered;
use appc_image::store::Store;
use appc_spec::ImageManifest;

use crate::error::{Error, Result};
use crate::session::Session;

/// Adds to why a command was not executed what to do about it, in an image for the architecture `image` on one of `host`.
pub(super) fn explain(error: Error, image: Option<&str>, host: &str) -> Error {
    let Error::Container(appc_container::Error::Exec(text)) = &error else { return error };
    let foreign = image.filter(|image| *image != host);
    // The kernel says the latter of an emulator that it looks for in the image (binfmt_misc without the flag F).
    let no_program = text.ends_with("exec format error");
    let no_emulator = foreign.is_some() && text.starts_with("exec /") && text.ends_with("no such file or directory");
    let missing =
        text.starts_with("exec: ") && (text.ends_with("no such file or directory") || text.ends_with("in $PATH"));
    let advice: Cow<'_, str> = match foreign {
        _ if missing => "it is neither in the image nor in what it depends on".into(),
        _ if !no_program && !no_emulator => return error,
        Some(image) => format!(
            "the image is for {image} and this machine is {host}: have an emulator registered with the kernel, as Debian's \
             packages qemu-user-static and binfmt-support do (binfmt_misc, with the flag F)"
        )
        .into(),
        None => "it is for another kind of machine, or a script whose first line names no program: run that with it".into(),
    };
    Error::Refused(format!("{error}: {advice}"))
}

/// Makes sure that what the image for the architecture `arch` depends on is for that, too, as far as it says.
pub(super) fn check_dependencies(session: &Session, rendered: &Rendered, arch: &str) -> Result<()> {
    let store = Store::open_existing(session.store_dir())?;
    for id in &rendered.images {
        let ImageManifest { name, labels, .. } = store.get(id)?.manifest;
        if let Some(other) = labels.get("arch").filter(|other| *other != arch) {
            return Err(Error::Refused(format!(
                "the dependency {name} is for arch {other}, and the image for {arch}: name one that is, with \"acbuild dependency \
                 add {name} --label arch={arch}\", or begin with --arch {other}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let said = |text: &str, image| {
            let error = appc_container::Error::Exec(text.to_owned());
            explain(error.into(), image, "amd64").to_string()
        };
        for text in ["exec /bin/x: exec format error", "exec /bin/x: no such file or directory"] {
            let said = said(text, Some("aarch64"));
            assert!(said.contains(text) && said.contains("for aarch64") && said.contains("qemu-user-static"), "{said}");
        }
        assert!(said("exec /x: exec format error", Some("amd64")).contains("a script whose first line"));
        let none = "exec: \"x\": executable file not found in $PATH";
        assert!(
            said(none, Some("aarch64")).ends_with("in $PATH: it is neither in the image nor in what it depends on")
        );
        for (text, image) in
            [("exec /x: no such file or directory", "amd64"), ("exec /x: permission denied", "aarch64")]
        {
            assert!(said(text, Some(image)).ends_with(text), "{text}");
        }
    }
}
