//! What is no error, as every runtime accepts it.

/// What a configuration asks for in vain, in sentences that begin with the field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    /// What the container will not have.
    pub lost: Vec<String>,
    /// What makes no difference.
    pub idle: Vec<String>,
}

impl Warnings {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.lost.iter().chain(&self.idle).map(String::as_str)
    }
}
