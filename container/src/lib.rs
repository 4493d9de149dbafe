//! One Linux container from one OCI runtime configuration.
