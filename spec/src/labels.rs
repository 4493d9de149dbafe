//! Labels: what tells images of the same name apart.

use serde_json::Value;

use crate::json::{Fields, Map, Object, Read, Write};
use crate::list::{duplicate, named_values};
use crate::{AcIdentifier, Error, check_os_arch};

named_values! {
    /// One label of an image. `version`, `os` and `arch` are well known.
    item Label, name AcIdentifier;
    /// The labels of an image, in order.
    list Labels;
}

impl Labels {
    /// Removes labels of that name and adds the new one at the end.
    pub fn set(&mut self, name: AcIdentifier, value: impl Into<String>) {
        self.remove(name.as_str());
        self.0.push(Label::new(name, value));
    }

    /// Whether an image with the labels `image` is one that was asked for with these: each of them is there with
    /// the same value, whatever else the image has.
    pub fn match_image(&self, image: &Labels) -> bool {
        self.iter().all(|label| image.get(label.name.as_str()) == Some(&label.value))
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if let Some(at) = self.iter().position(|label| label.name == "name") {
            return Err(Error::new("invalid label name: \"name\"").in_field("name").at(at));
        }
        if let Some((at, name)) = duplicate(self.iter().map(|label| label.name.as_str())) {
            return Err(Error::new(format!("duplicate labels of name {name:?}")).in_field("name").at(at));
        }
        let Some(os) = self.get("os") else { return Ok(()) };
        // Of the two, the one to blame is where the error is.
        let place = |name: &str, e: Error| {
            let at = self.iter().position(|label| label.name == name).unwrap_or_default();
            e.in_field("value").at(at)
        };
        check_os_arch(os, None).map_err(|e| place("os", e))?;
        check_os_arch(os, self.get("arch")).map_err(|e| place("arch", e))
    }
}
