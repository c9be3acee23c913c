//! The extension module `paceline._paceline`.
use pyo3::prelude::*;

#[pymodule]
mod _paceline {}
