//! Owns the names of attributes and keywords, which Python has only once, made when they are first needed.
//!
//! What lasts is in a `OnceBox` here and everywhere in this crate, and not in a `PyOnceLock`, as `pyo3::intern` has it:
//! that gives up the interpreter after it has noted that something is being made, and a child that another thread forks in
//! that moment would wait for ever, for a thread that it does not have.

/// A string of Python's, which lasts.
macro_rules! intern {
    ($py:expr, $text:expr) => {{
        static NAME: once_cell::race::OnceBox<pyo3::Py<pyo3::types::PyString>> = once_cell::race::OnceBox::new();
        NAME.get_or_init(|| Box::new(pyo3::types::PyString::intern($py, $text).unbind())).bind($py)
    }};
}

pub(crate) use intern;
