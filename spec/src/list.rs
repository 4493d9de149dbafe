//! What the three lists of named values (labels, annotations, environment) have in common.

use std::collections::HashSet;

/// The index and name of the first item whose name an earlier one has.
pub(crate) fn duplicate<'a>(names: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    let mut seen = HashSet::new();
    names.enumerate().find(|(_, name)| !seen.insert(*name))
}

/// An ordered list of `{name, value}` items: the item, the list, and all of their methods but `set`.
macro_rules! named_values {
    (
        $(#[$item_doc:meta])* item $item:ident, name $name:ty;
        $(#[$list_doc:meta])* list $list:ident;
    ) => {
        $(#[$item_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $item {
            /// Unique in its list.
            pub name: $name,
            /// Any text.
            pub value: String,
            /// Unknown fields.
            pub extra: Map,
        }

        impl $item {
            /// An item without unknown fields.
            pub fn new(name: $name, value: impl Into<String>) -> $item {
                $item { name, value: value.into(), extra: Map::new() }
            }
        }

        $(#[$list_doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $list(Vec<$item>);

        impl $list {
            /// An empty list.
            pub fn new() -> $list {
                $list::default()
            }

            /// The value of `name`.
            pub fn get(&self, name: &str) -> Option<&str> {
                self.0.iter().find(|item| AsRef::<str>::as_ref(&item.name) == name).map(|item| item.value.as_str())
            }

            /// Removes `name`; says whether it was there.
            pub fn remove(&mut self, name: &str) -> bool {
                let before = self.0.len();
                self.0.retain(|item| AsRef::<str>::as_ref(&item.name) != name);
                self.0.len() != before
            }

            /// The items in order.
            pub fn iter(&self) -> std::slice::Iter<'_, $item> {
                self.0.iter()
            }

            /// How many there are.
            pub fn len(&self) -> usize {
                self.0.len()
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl FromIterator<$item> for $list {
            fn from_iter<I: IntoIterator<Item = $item>>(items: I) -> $list {
                $list(items.into_iter().collect())
            }
        }

        impl<'a> IntoIterator for &'a $list {
            type Item = &'a $item;
            type IntoIter = std::slice::Iter<'a, $item>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        impl Read for $item {
            fn read(value: Value) -> Result<$item, Error> {
                let mut fields = Fields::of(value)?;
                let name = fields.require("name", "name must be set")?;
                let value = fields.take_or_default("value")?;
                Ok($item { name, value, extra: fields.rest() })
            }
        }

        impl Write for $item {
            fn write(&self) -> Value {
                Object::new().put("name", &self.name).put("value", &self.value).with(&self.extra)
            }
        }

        impl Read for $list {
            fn read(value: Value) -> Result<$list, Error> {
                Vec::read(value).map($list)
            }
        }

        impl Write for $list {
            fn write(&self) -> Value {
                self.0[..].write()
            }
        }
    };
}

pub(crate) use named_values;
