//! A part of a tree, for those who know that nothing else of it matters.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::walk::parents;

/// Some paths of a tree: what is at them and below them, and the directories above. Of a path that ends with a slash, the
/// directory itself is meant, and nothing that is in it.
///
/// Paths are below the root, without links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part(BTreeSet<Vec<u8>>);

impl Part {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what is at `path` is in it, or something below that.
    pub(crate) fn meets(&self, path: &[u8]) -> bool {
        let inside = [path, b"/"].concat();
        let below = self.0.range((Bound::Included(inside.clone()), Bound::Unbounded)).next();
        self.0.contains(path)
            || below.is_some_and(|below| below.starts_with(&inside))
            || parents(path).any(|above| self.0.contains(above))
    }
}

impl<'p> FromIterator<&'p [u8]> for Part {
    fn from_iter<I: IntoIterator<Item = &'p [u8]>>(paths: I) -> Part {
        Part(paths.into_iter().map(<[u8]>::to_vec).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_it_names_with_all_below_and_the_way_there() {
        let part: Part = [&b"a/b"[..], b"d/", b"e/f/g"].into_iter().collect();
        for path in ["a", "a/b", "a/b/c/d", "d", "e", "e/f", "e/f/g", "e/f/g/h"] {
            assert!(part.meets(path.as_bytes()), "{path}");
        }
        for path in ["a/bc", "a/a", "ab", "d/x", "e/f/h", "f"] {
            assert!(!part.meets(path.as_bytes()), "{path}");
        }
        assert!(!part.is_empty() && Part::default().is_empty());
    }
}
