//! Placeholder head, replaced by the first module of the crate.
