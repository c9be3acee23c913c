//! Owns how the interpreter of the fork server, or of a worker by itself, is started: clean of the user's code, and
//! otherwise like this one. Never starts it.

use paceline_engine::ForkServerCommand;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyModule};
use std::ffi::OsString;

/// Options `-X` that have an interpreter print what nobody wants to read twice, or that are passed on otherwise.
const LEFT_OUT: [&str; 5] = ["importtime", "showrefcount", "showalloccount", "dev", "utf8"];

/// A fresh interpreter that imports this module and nothing of the user's, to fork workers.
pub(crate) fn fork_server_command(py: Python<'_>) -> PyResult<ForkServerCommand> {
    command(py, "serve_forks")
}

/// The same, to become a worker itself.
pub(crate) fn spawn_command(py: Python<'_>) -> PyResult<ForkServerCommand> {
    command(py, "become_worker")
}

fn command(py: Python<'_>, role: &str) -> PyResult<ForkServerCommand> {
    let sys = PyModule::import(py, "sys")?;
    let executable = sys.getattr("executable")?;
    if !executable.is_truthy()? {
        return Err(PyRuntimeError::new_err("sys.executable is empty: workers are started from it"));
    }
    let package = PyModule::import(py, "paceline")?.getattr("__path__")?.get_item(0)?;
    let path = PyModule::import(py, "os.path")?.call_method1("dirname", (package,))?;
    let code = format!(
        "import sys; sys.path.insert(0, {path}); from paceline import _paceline; _paceline.{role}({pid})",
        path = path.repr()?,
        pid = std::process::id(),
    );
    let mut arguments = flags(&sys)?;
    arguments.extend(["-c".into(), code.into()]);
    Ok(ForkServerCommand { program: executable.extract()?, arguments })
}

/// The options that this interpreter was started with, as far as they change what a program does. The folders of
/// packages (`-S`) are left out: a worker's search path is this process's, but the fork server has to find its own.
fn flags(sys: &Bound<'_, PyModule>) -> PyResult<Vec<OsString>> {
    let flags = sys.getattr("flags")?;
    let level = |name: &str| flags.getattr(name).and_then(|level| level.extract::<i64>());
    let mut arguments: Vec<OsString> = Vec::new();
    let isolated = level("isolated")? > 0;
    let letters = [
        ('I', i64::from(isolated)),
        ('E', if isolated { 0 } else { level("ignore_environment")? }),
        ('s', if isolated { 0 } else { level("no_user_site")? }),
        ('P', if isolated { 0 } else { level("safe_path")? }),
        ('B', level("dont_write_bytecode")?),
        ('O', level("optimize")?),
        ('b', level("bytes_warning")?),
    ];
    for (letter, level) in letters {
        arguments.extend((0..level).map(|_| format!("-{letter}").into()));
    }
    if level("dev_mode")? > 0 {
        arguments.extend(["-X".into(), "dev".into()]);
    }
    arguments.extend(["-X".into(), format!("utf8={}", level("utf8_mode")?).into()]);
    for (name, value) in sys.getattr("_xoptions")?.cast_into::<PyDict>()? {
        let name: String = name.extract()?;
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let option = if value.is_instance_of::<PyBool>() { name } else { format!("{name}={}", value.str()?) };
        arguments.extend(["-X".into(), option.into()]);
    }
    for filter in sys.getattr("warnoptions")?.try_iter()? {
        arguments.extend(["-W".into(), filter?.extract::<OsString>()?]);
    }
    Ok(arguments)
}
