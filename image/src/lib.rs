//! App Container images at rest.
