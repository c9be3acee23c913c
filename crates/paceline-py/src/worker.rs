//! Owns the Python side of a worker: loads functions, calls them, makes bytes of what they return or raise. Never
//! decides what runs next.

use crate::codec::Decoder;
use crate::coroutines::{Coroutines, run_to_end};
use crate::current;
use crate::functions::{COROUTINE, Style};
use crate::output::flush_worker_output;
use crate::pickle::{Encoded, Names, encode_result, names};
use crate::voice::{begin_call, flush_if_owed, flush_streams};
use paceline_engine::fork_server::{Served, Side, serve};
use paceline_engine::worker::work;
use paceline_engine::{AllocateError, Answers, Call, Foreign, Manner, Run};
use pyo3::exceptions::PyMemoryError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyModule, PyTuple};
use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};

/// An outcome that is a value.
pub(crate) const KIND_VALUE: u8 = 0;
/// An outcome that is a packed exception.
pub(crate) const KIND_RAISED: u8 = 1;

/// The main function of the fork server, and of each worker that it forks.
#[pyfunction]
pub(crate) fn serve_forks(py: Python<'_>, parent_pid: i32) -> PyResult<()> {
    let system = |errno: rustix::io::Errno| PyErr::from(std::io::Error::from(errno));
    let os = PyModule::import(py, "os")?;
    // Files that the parent's libraries have open and that came along: locks on them would be held for as long as there
    // are workers.
    let most = os.call_method1(intern!(py, "sysconf"), ("SC_OPEN_MAX",))?;
    os.call_method1(intern!(py, "closerange"), (3, most))?;
    // The parent's socket came as standard input; the workers' is empty.
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(system)?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).map_err(system)?;
    drop(nothing);
    // What every worker needs is imported once, here, and shared with all of them.
    let names = names(py)?;
    let side = PyModule::import(py, "paceline.worker")?;
    side.call_method1("prepare", (PyModule::import(py, "paceline._paceline")?,))?;
    let mut fork = || match os.call_method0(intern!(py, "fork")).and_then(|pid| pid.extract::<i32>()) {
        Ok(0) => Ok(Side::Child),
        Ok(pid) => Ok(Side::Parent(pid)),
        Err(error) => Err(errno_of(py, &error)),
    };
    let mut preload = |what: &[u8]| {
        // Whoever needs what cannot be loaded is told when it is tried in a worker.
        let _ = PyModule::import(py, "paceline.preloading")
            .and_then(|preloading| preloading.call_method1(intern!(py, "load"), (PyBytes::new(py, what),)));
    };
    match serve(socket, parent_pid, &mut preload, &mut fork) {
        Served::Ended => Ok(()),
        Served::Worker(birth) => {
            side.setattr(intern!(py, "seat"), birth.seat)?;
            let code = work(*birth, &mut PythonRun::new(names, &side));
            if code == 0 {
                // What goes wrong there has been printed, and there is nobody else to tell.
                let _ = side.call_method0(intern!(py, "take_leave"));
            }
            leave(py, code)
        }
    }
}

fn errno_of(py: Python<'_>, error: &PyErr) -> rustix::io::Errno {
    let number = error.value(py).getattr("errno").and_then(|number| number.extract());
    number.map_or(rustix::io::Errno::AGAIN, rustix::io::Errno::from_raw_os_error)
}

/// Ends the worker: what it printed is written, and nothing else of the forked interpreter is torn down.
fn leave(py: Python<'_>, code: i32) -> ! {
    // What workers of its own have said is part of it.
    let _ = flush_worker_output(py, true);
    flush_streams(py);
    paceline_engine::worker::exit_now(code)
}

struct PythonRun<'py> {
    py: Python<'py>,
    names: &'py Names,
    side: &'py Bound<'py, PyModule>,
    functions: HashMap<u64, Loaded<'py>>,
    scratch: Vec<u8>,
    coroutines: Coroutines<'py>,
    most_coroutines: usize,
}

struct Loaded<'py> {
    style: Style,
    manner: Manner,
    /// Or why it cannot be loaded.
    function: Result<Bound<'py, PyAny>, PyErr>,
}

/// How many functions a worker keeps; beyond, it forgets them all and loads again what it needs.
const KEPT: usize = 1024;

impl<'py> PythonRun<'py> {
    fn new(names: &'py Names, side: &'py Bound<'py, PyModule>) -> Self {
        let coroutines = Coroutines::new(side.py());
        let functions = HashMap::new();
        Self { py: side.py(), names, side, functions, scratch: Vec::new(), coroutines, most_coroutines: 1 }
    }

    fn load_function(&self, bytes: &[u8]) -> Loaded<'py> {
        let (kind, pickle) = bytes.split_first().unwrap_or((&0, &[]));
        let manner = if kind & COROUTINE == 0 { Manner::AtOnce } else { Manner::Lingers };
        let style = match kind & !COROUTINE {
            0 => Style::Call,
            1 => Style::Item,
            _ => Style::Star,
        };
        Loaded { style, manner, function: crate::pickle::load(self.names.loads.bind(self.py), Foreign::own(pickle)) }
    }

    /// Reads the next item and calls the function with it.
    #[expect(clippy::inline_always, reason = "a call costs a tenth of what a short function takes")]
    #[inline(always)]
    fn call(&self, loaded: &Loaded<'py>, decoder: &mut Decoder<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let is_tuple = decoder.at_tuple();
        let value = decoder.next();
        let function = loaded.function.as_ref().map_err(|error| error.clone_ref(self.py))?;
        let value = value.map_err(|error| self.not_rebuilt(&error))?;
        match loaded.style {
            Style::Item => function.call1((value,)),
            Style::Call if is_tuple => function.call1(value.cast_into::<PyTuple>()?),
            Style::Call => {
                let (args, kwargs): (Bound<'_, PyTuple>, Option<Bound<'_, PyDict>>) = value.extract()?;
                function.call(args, kwargs.as_ref())
            }
            Style::Star => match value.cast_into::<PyTuple>() {
                Ok(args) => function.call1(args),
                Err(error) => function
                    .call1(PyTuple::new(self.py, error.into_inner().try_iter()?.collect::<PyResult<Vec<_>>>()?)?),
            },
        }
    }

    /// What is raised for arguments that unpickling failed for.
    fn not_rebuilt(&self, error: &PyErr) -> PyErr {
        let pickling = self.names.pickling.bind(self.py);
        match pickling.call_method1(intern!(self.py, "argument_not_rebuilt"), (error.value(self.py),)) {
            Ok(failure) => PyErr::from_value(failure),
            Err(failure) => failure,
        }
    }

    /// Writes the outcome of an item: a result, or the exception that says why there is none.
    fn answer(&mut self, result: PyResult<Bound<'py, PyAny>>, answers: &mut Answers<'_>) {
        if self.try_answer(result, answers).is_err() {
            let error = PyMemoryError::new_err("there is no shared memory for the result");
            if self.try_answer(Err(error), answers).is_err() {
                // Not even for saying so: the item is lost with this worker, and its future says how.
                leave(self.py, paceline_engine::worker::EXIT_DISCONNECTED);
            }
        }
    }

    fn try_answer(
        &mut self,
        result: PyResult<Bound<'py, PyAny>>,
        answers: &mut Answers<'_>,
    ) -> Result<(), AllocateError> {
        let packed = match result {
            Ok(value) => {
                self.scratch.clear();
                match encode_result(&value, &mut self.scratch) {
                    Ok(Encoded::Gathered) => return answers.push(KIND_VALUE, &self.scratch),
                    Ok(Encoded::Apart(head, run)) => return answers.push_parts(KIND_VALUE, &[&head, run.as_bytes()]),
                    Err(error) => self.pack("pack_unpicklable_result", (value, error.into_value(self.py))),
                }
            }
            Err(error) => self.pack("pack_exception", (error.into_value(self.py),)),
        };
        answers.push(KIND_RAISED, packed.as_ref().map_or(&[], |packed| packed.as_bytes()))
    }

    fn pack(&self, how: &str, what: impl pyo3::call::PyCallArgs<'py>) -> Option<Bound<'py, PyBytes>> {
        let packed = self.names.pickling.bind(self.py).getattr(how).and_then(|pack| pack.call1(what));
        packed.ok()?.cast_into().ok()
    }
}

impl Run for PythonRun<'_> {
    fn set_up(&mut self, setup: &[u8]) -> Result<(), Vec<u8>> {
        let native = PyModule::import(self.py, "paceline._paceline");
        let set_up = native.and_then(|native| {
            self.side.call_method1(intern!(self.py, "set_up"), (PyBytes::new(self.py, setup), native))
        });
        flush_if_owed(self.py);
        let told = set_up.and_then(|told| told.extract()).map_err(|error| self.describe(error).into_bytes());
        let (seed, most_coroutines) = told?;
        current::set_seed(seed);
        self.most_coroutines = most_coroutines;
        Ok(())
    }

    fn manner(&self, function: u64) -> Option<Manner> {
        self.functions.get(&function).map(|loaded| loaded.manner)
    }

    fn load(&mut self, function: u64, bytes: &[u8]) {
        if self.functions.len() >= KEPT {
            self.functions.clear();
        }
        let loaded = self.load_function(bytes);
        self.functions.insert(function, loaded);
    }

    fn run(&mut self, call: &Call<'_>, answers: &mut Answers<'_>) {
        let Some(loaded) = self.functions.remove(&call.function) else { return };
        let loads = self.names.loads.bind(self.py);
        let mut decoder = Decoder::new(call.input, loads);
        let items = call.item..call.item + u64::from(call.count);
        begin_call(items.clone(), &loaded.function);
        current::here(|current| {
            for item in items {
                current.begin(item);
                let mut result = self.call(&loaded, &mut decoder);
                run_to_end(&mut result);
                flush_if_owed(self.py);
                self.answer(result, answers);
            }
            current.end();
        });
        self.functions.insert(call.function, loaded);
    }

    fn most_lingering(&self) -> usize {
        self.most_coroutines
    }

    fn begin(&mut self, number: usize, call: &Call<'_>) {
        let Some(loaded) = self.functions.remove(&call.function) else { return };
        let mut decoder = Decoder::new(call.input, self.names.loads.bind(self.py));
        let items = call.item..call.item + u64::from(call.count);
        begin_call(items.clone(), &loaded.function);
        // Taken out, because making a coroutine needs the rest of this.
        let mut coroutines = std::mem::replace(&mut self.coroutines, Coroutines::new(self.py));
        coroutines.begin(number, items, |item| {
            current::begin_item(item);
            let made = self.call(&loaded, &mut decoder);
            current::end_item();
            made
        });
        self.coroutines = coroutines;
        self.functions.insert(call.function, loaded);
    }

    fn go_on(&mut self, bell: BorrowedFd<'_>, may_wait: bool, ended: &mut Vec<usize>) {
        if let Err(error) = self.coroutines.go_on(bell, may_wait, ended) {
            // The event loop is broken, and with it everything on it.
            error.print(self.py);
            leave(self.py, paceline_engine::worker::EXIT_DISCONNECTED);
        }
    }

    fn settle(&mut self, number: usize, answers: &mut Answers<'_>) {
        flush_if_owed(self.py);
        for result in self.coroutines.settle(number) {
            self.answer(result, answers);
        }
    }

    fn leave(&mut self) {
        self.coroutines.leave();
    }

    fn while_idle(&mut self, wait: &mut (dyn FnMut() + Send)) {
        self.py.detach(wait);
    }
}

impl PythonRun<'_> {
    /// The traceback as text, for a parent that can do no more than show it.
    fn describe(&self, error: PyErr) -> String {
        let py = self.py;
        let short = error.to_string();
        // Only the value taken out of the error has its traceback attached.
        let value = error.into_value(py);
        let text = PyModule::import(py, "paceline.tracebacks")
            .and_then(|tracebacks| tracebacks.call_method1("traceback_text", (value,)))
            .and_then(|text| text.extract::<String>());
        text.unwrap_or(short)
    }
}
