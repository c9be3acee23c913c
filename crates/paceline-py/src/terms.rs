//! Owns the terms of a call as Python hands them over, made once for many calls. Never decides what they mean.

use crate::outcome::OnError;
use paceline_engine::{FailureWatch, RetryOn, TOKEN_KINDS, Tokens};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::Arc;

/// On which terms calls run: how long, how often, how urgently.
#[pyclass(module = "paceline._paceline", frozen)]
pub(crate) struct Terms {
    pub(crate) native: paceline_engine::Terms,
    /// Workers may say of a failure that it may pass.
    asks_workers: bool,
    /// Stands for the function in errors, and elsewhere.
    name: Option<Py<PyString>>,
    shown_name: Option<Arc<str>>,
    /// What whoever carries calls elsewhere is to know of them.
    carried: Option<Py<PyAny>>,
}

#[pymethods]
impl Terms {
    /// Times are in seconds. `retry_deaths`, `retry_overruns`, `retry_outgrowths` and `retry_failures` tell after what a
    /// call is run again; of failures, the worker knows.
    #[new]
    #[pyo3(signature = (
        *, retries = 0, priority = 0, timeout = None, grace = 1.0, backoff = 0.0, retry_deaths = true,
        retry_overruns = false, retry_outgrowths = true, retry_failures = false, retry_alone = false, name = None,
        tokens = [0; TOKEN_KINDS], carried = None
    ))]
    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "Python's keywords")]
    fn new(
        retries: u16,
        #[pyo3(from_py_with = priority_from)] priority: i16,
        timeout: Option<f64>,
        grace: f64,
        backoff: f64,
        retry_deaths: bool,
        retry_overruns: bool,
        retry_outgrowths: bool,
        retry_failures: bool,
        retry_alone: bool,
        name: Option<Bound<'_, PyString>>,
        tokens: [u32; TOKEN_KINDS],
        carried: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let retry_on = RetryOn {
            death: retry_deaths,
            overrun: retry_overruns,
            outgrowth: retry_outgrowths,
            alone_after_outgrowth: retry_alone,
        };
        let native = paceline_engine::Terms {
            retries,
            priority,
            retry_on,
            backoff_ns: nanoseconds("backoff", backoff)?,
            // A limit of less than a nanosecond is one all the same.
            timeout_ns: timeout.map_or(Ok(0), |timeout| nanoseconds("timeout", timeout).map(|limit| limit.max(1)))?,
            grace_ns: nanoseconds("grace", grace)?,
            tokens: Tokens(tokens),
            ..paceline_engine::Terms::default()
        };
        let asks_workers = retries > 0 && (retry_failures || retry_overruns);
        let shown_name = name.as_ref().map(|name| name.to_string().into());
        Ok(Self { native, asks_workers, name: name.map(Bound::unbind), shown_name, carried })
    }
}

impl Terms {
    /// For a call, or a map that treats failures in this way; and who wants to know of failures.
    pub(crate) fn with_failures(
        &self,
        on_error: OnError,
        max_failures: Option<u32>,
    ) -> (paceline_engine::Terms, FailureWatch) {
        let terms = paceline_engine::Terms { most_failures: max_failures.unwrap_or(u32::MAX), ..self.native };
        let watch = if on_error != OnError::Raise {
            FailureWatch::Everybody
        } else if self.asks_workers || max_failures.is_some() {
            FailureWatch::Core
        } else {
            FailureWatch::Nobody
        };
        (terms, watch)
    }

    /// What whoever carries the call elsewhere is to know of it.
    pub(crate) fn carried(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.carried.as_ref().map(|carried| carried.clone_ref(py))
    }

    /// What its user has named it.
    pub(crate) fn name_of_task(&self) -> Option<Arc<str>> {
        self.shown_name.clone()
    }

    /// What errors call a function: what its user has named it, else what this call does, else the function.
    pub(crate) fn name_of<'a, 'py>(
        &'a self,
        function: &'a Bound<'py, PyAny>,
        name: Option<&'a Bound<'py, PyAny>>,
    ) -> &'a Bound<'py, PyAny> {
        let given = self.name.as_ref().map(|given| given.bind(function.py()).as_any());
        given.or(name).unwrap_or(function)
    }
}

fn nanoseconds(name: &str, seconds: f64) -> PyResult<u64> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("{name} must be a number of seconds, not {seconds}")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative; casts saturate")]
    Ok((seconds * 1e9) as u64)
}

/// A priority, or what is wrong with it.
fn priority_from(value: &Bound<'_, PyAny>) -> PyResult<i16> {
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            PyValueError::new_err(format!("priority must be from {} to {}, not {value}", i16::MIN, i16::MAX))
        } else {
            error
        }
    })
}
