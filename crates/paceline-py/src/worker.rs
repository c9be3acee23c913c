//! Owns the Python side of a worker: loads functions, calls them, makes bytes of what they return or raise. Never
//! decides what runs next.

use crate::buffers::{self, Buffer, Given};
use crate::codec::{Decoder, GAP};
use crate::coroutines::{Coroutines, Ended, run_to_end};
use crate::current::{self, Current, Place};
use crate::functions::{COROUTINE, Style};
use crate::gather::Gather;
use crate::intern::intern;
use crate::outcome::read_inert;
use crate::output::flush_worker_output;
use crate::pickle::{Encoded, Names, encode_result, names};
use crate::shared;
use crate::stops::{self, Stopped, forget_passing, may_pass, stops_at_once};
use crate::voice::{begin_call, flush_if_owed, flush_streams};
use paceline_engine::fork_server::{
    Served, Side, become_worker as start_worker, go_on_without_parent, serve, take_socket,
};
use paceline_engine::start::{ForkedServer, ForkedSide, fork_server};
use paceline_engine::worker::work;
use paceline_engine::{AllocateError, Answers, Call, Foreign, Manner, Run, kind, now_ns};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyModule, PyTuple};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The main function of the fork server, and of each worker that it forks.
#[pyfunction]
pub(crate) fn serve_forks(py: Python<'_>, parent_pid: i32) -> PyResult<()> {
    let socket = clean_start(py)?;
    be(py, |preload, fork| serve(socket, parent_pid, preload, fork))
}

/// The main function of a worker that is started by itself.
#[pyfunction]
pub(crate) fn become_worker(py: Python<'_>, parent_pid: i32) -> PyResult<()> {
    let socket = clean_start(py)?;
    be(py, |_, _| start_worker(socket, parent_pid))
}

/// The socket with which an interpreter was started for us, in which there is nothing else.
fn clean_start(py: Python<'_>) -> PyResult<OwnedFd> {
    go_on_without_parent();
    let system = |errno: rustix::io::Errno| PyErr::from(std::io::Error::from(errno));
    let os = PyModule::import(py, "os")?;
    // Files that the parent's libraries have open and that came along: locks on them would be held for as long as there
    // are workers.
    let most = os.call_method1(intern!(py, "sysconf"), ("SC_OPEN_MAX",))?;
    os.call_method1(intern!(py, "closerange"), (3, most))?;
    let socket = take_socket().map_err(system)?;
    // What every worker needs is imported once, here, and shared with all of them.
    names(py)?;
    let side = PyModule::import(py, "paceline.worker")?;
    side.call_method1("prepare", (PyModule::import(py, "paceline._paceline")?,))?;
    Ok(socket)
}

type Preload<'a> = &'a mut dyn FnMut(&[u8]);
type Fork<'a> = &'a mut dyn FnMut() -> Result<Side, Errno>;

/// Serves as `role` has it, and works if this process turns out to be a worker; then it does not return.
fn be(py: Python<'_>, role: impl FnOnce(Preload<'_>, Fork<'_>) -> Served) -> PyResult<()> {
    let os = PyModule::import(py, "os")?;
    let side = PyModule::import(py, "paceline.worker")?;
    let names = names(py)?;
    let mut fork = || fork_with(&os).map_err(|error| errno_of(py, &error));
    let mut preload = |what: &[u8]| {
        // Whoever needs what cannot be loaded is told when it is tried in a worker.
        let _ = PyModule::import(py, "paceline.preloading")
            .and_then(|preloading| preloading.call_method1(intern!(py, "load"), (PyBytes::new(py, what),)));
    };
    match role(&mut preload, &mut fork) {
        Served::Ended => Ok(()),
        Served::Worker(birth) => {
            side.setattr(intern!(py, "seat"), birth.seat)?;
            side.setattr(intern!(py, "stacks"), birth.stacks.as_raw_fd())?;
            let code = work(*birth, &mut PythonRun::new(names, &side));
            if code == 0 {
                // What goes wrong there has been printed, and there is nobody else to tell.
                let _ = side.call_method0(intern!(py, "take_leave"));
            }
            leave(py, code)
        }
    }
}

/// Forks as Python does, so that its libraries hear of it.
fn fork_with(os: &Bound<'_, PyModule>) -> PyResult<Side> {
    match os.call_method0(intern!(os.py(), "fork"))?.extract()? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid)),
    }
}

/// Forks this very process, in the middle of whatever it does, to serve for one pool. The child never comes back.
pub(crate) fn forked_server(py: Python<'_>) -> PyResult<ForkedServer> {
    let os = PyModule::import(py, "os")?;
    let forking = PyModule::import(py, "paceline.forking")?;
    // What every worker needs is imported here, and shared with all of them.
    names(py)?;
    PyModule::import(py, "paceline.worker")?;
    let parent_pid = std::process::id().cast_signed();
    let silence = forking.call_method0(intern!(py, "prepare"))?;
    let mut raised = None;
    // Nothing of Python's runs between the fork and the moment at which the child is kept, so that no Ctrl-C can come in
    // between.
    let forked = fork_server(&mut || {
        fork_with(&os).map_err(|error| {
            raised = Some(error);
            Errno::AGAIN
        })
    });
    if let Ok(ForkedSide::Child(socket)) = forked {
        serve_forked(py, socket, parent_pid, &forking, &silence)
    }
    silence.call_method1(intern!(py, "__exit__"), (py.None(), py.None(), py.None()))?;
    match forked {
        Ok(ForkedSide::Parent(server)) => Ok(server),
        Ok(ForkedSide::Child(_)) => unreachable!("the child does not come back"),
        Err(errno) => Err(raised.unwrap_or_else(|| std::io::Error::from(errno).into())),
    }
}

/// Whatever happens, the program's own code is not gone on with here, nor is what it does at its end.
fn serve_forked(
    py: Python<'_>,
    socket: OwnedFd,
    parent_pid: i32,
    forking: &Bound<'_, PyModule>,
    silence: &Bound<'_, PyAny>,
) -> ! {
    let served = catch_unwind(AssertUnwindSafe(|| {
        current::forget(py)?;
        forking.call_method1(intern!(py, "settle"), (silence, PyModule::import(py, "paceline._paceline")?))?;
        be(py, |preload, fork| serve(socket, parent_pid, preload, fork))
    }));
    let ended_well = served.is_ok_and(|served| served.inspect_err(|error| error.print(py)).is_ok());
    paceline_engine::worker::exit_now(i32::from(!ended_well))
}

fn errno_of(py: Python<'_>, error: &PyErr) -> Errno {
    let number = error.value(py).getattr("errno").and_then(|number| number.extract());
    number.map_or(Errno::AGAIN, Errno::from_raw_os_error)
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
    /// In what these were loaded from.
    function_bytes: usize,
    scratch: Gather,
    coroutines: Coroutines<'py>,
    /// The calls of these, by number.
    lingering: HashMap<usize, Lingering>,
    most_coroutines: usize,
}

/// Has libraries that a task loads see these devices alone; none for all of them.
#[cold]
fn show_devices(py: Python<'_>, devices: u32) {
    let shown = py.import("paceline.devices").and_then(|module| module.call_method1(intern!(py, "show"), (devices,)));
    if let Err(error) = shown {
        error.write_unraisable(py, None);
    }
}

/// One attempt at an item, for whoever tells of its end.
struct Attempt<'a, 'py> {
    loaded: &'a Loaded<'py>,
    /// Begins with the item's input.
    input: &'a [u8],
    /// How often it had been begun before.
    begun: u16,
    began_ns: Option<u64>,
}

/// A call that lingers, as far as telling of its end needs it.
struct Lingering {
    function: u64,
    input: Box<[u8]>,
    count: u32,
    attempt: u16,
    began_ns: u64,
    given: Vec<Given>,
}

impl Lingering {
    fn of(call: &Call<'_>, given: Vec<Given>) -> Self {
        let Call { function, count, attempt, began_ns, .. } = *call;
        Self { function, input: call.input.into(), count, attempt, began_ns, given }
    }
}

struct Loaded<'py> {
    style: Style,
    manner: Manner,
    /// Or why it cannot be loaded.
    function: Result<Bound<'py, PyAny>, PyErr>,
}

/// How many functions a worker keeps, and of how many bytes; beyond, it forgets them all and loads again what it needs.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 256 << 20;

impl<'py> PythonRun<'py> {
    fn new(names: &'py Names, side: &'py Bound<'py, PyModule>) -> Self {
        let coroutines = Coroutines::new(side.py());
        let functions = HashMap::new();
        Self {
            py: side.py(),
            names,
            side,
            functions,
            function_bytes: 0,
            scratch: Gather::default(),
            coroutines,
            lingering: HashMap::new(),
            most_coroutines: 1,
        }
    }

    fn load_function(&self, bytes: &[u8]) -> Loaded<'py> {
        let (kind, pickle) = bytes.split_first().unwrap_or((&0, &[]));
        let manner = if kind & COROUTINE == 0 { Manner::AtOnce } else { Manner::Lingers };
        let style = match kind & !COROUTINE {
            0 => Style::Call,
            1 => Style::Item,
            _ => Style::Star,
        };
        Loaded {
            style,
            manner,
            function: crate::pickle::load(self.names.loads.bind(self.py), Foreign::own(pickle), None),
        }
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
    fn answer(&mut self, result: PyResult<Bound<'py, PyAny>>, of: &Attempt<'_, 'py>, answers: &mut Answers<'_>) {
        let Err(refusal) = self.try_answer(result, of, answers) else { return };
        let error = PyMemoryError::new_err("there is no shared memory for the result");
        // Where a task has closed this worker's descriptors, what comes next in its chunk would be refused as well.
        let is_cut_off = paceline_engine::worker::is_refused_by_descriptor(refusal);
        if is_cut_off || self.try_answer(Err(error), of, answers).is_err() {
            // Not even memory for saying so: the item is lost with this worker, and its future says how.
            leave(self.py, paceline_engine::worker::EXIT_DISCONNECTED);
        }
    }

    fn try_answer(
        &mut self,
        result: PyResult<Bound<'py, PyAny>>,
        of: &Attempt<'_, 'py>,
        answers: &mut Answers<'_>,
    ) -> Result<(), AllocateError> {
        let mut kind = kind::FAILED;
        let packed = match result {
            Ok(value) => {
                self.scratch.clear();
                match encode_result(&value, &mut self.scratch) {
                    Ok(Encoded::Gathered) => return answers.push(kind::DONE, self.scratch.bytes()),
                    Ok(Encoded::Apart(head, run)) => return answers.push_parts(kind::DONE, &[&head, run.as_bytes()]),
                    Ok(Encoded::WithBuffers(head, pickle, taken)) => {
                        return push_with_buffers(self.py, (&head, pickle.as_bytes(), &taken), answers);
                    }
                    Err(error) => {
                        self.pack("pack_unpicklable_result", (value, error.into_value(self.py), self.details(of)))
                    }
                }
            }
            Err(error) => {
                let error = error.into_value(self.py);
                if may_pass(error.bind(self.py)) {
                    kind = kind::MAY_PASS;
                }
                self.pack("pack_exception", (error, self.details(of)))
            }
        };
        answers.push(kind, packed.as_ref().map_or(&[], |packed| packed.as_bytes()))
    }

    /// Writes that an item was stopped, and where it was.
    fn answer_stopped(&self, stack: &str, of: &Attempt<'_, 'py>, answers: &mut Answers<'_>) {
        let details = self.details(of).map(Bound::unbind);
        let packed = self.side.py().import("paceline.failures").and_then(|failures| {
            failures
                .call_method1(intern!(self.py, "pack_stopped"), (stack, details))?
                .cast_into::<PyBytes>()
                .map_err(PyErr::from)
        });
        if answers.push(kind::STOPPED, packed.as_ref().map_or(&[], |packed| packed.as_bytes())).is_err() {
            leave(self.py, paceline_engine::worker::EXIT_DISCONNECTED);
        }
    }

    /// What errors tell of an attempt; nothing if telling it fails.
    fn details(&self, of: &Attempt<'_, 'py>) -> Option<Bound<'py, PyAny>> {
        let py = self.py;
        let (style, value) = read_inert(py, of.loaded.style, of.input).ok().unzip();
        let failures = PyModule::import(py, "paceline.failures").ok()?;
        let seconds = of.began_ns.map(|began| Duration::from_nanos(now_ns().saturating_sub(began)).as_secs_f64());
        failures.call_method1(intern!(py, "details_here"), (style, value, of.begun, seconds)).ok()
    }

    fn pack(&self, how: &str, what: impl pyo3::call::PyCallArgs<'py>) -> Option<Bound<'py, PyBytes>> {
        let packed = self.names.pickling.bind(self.py).getattr(how).and_then(|pack| pack.call1(what));
        packed.ok()?.cast_into().ok()
    }
}

#[inline(never)]
fn push_with_buffers(
    py: Python<'_>,
    (head, pickle, taken): (&[u8], &[u8], &[(usize, Buffer)]),
    answers: &mut Answers<'_>,
) -> Result<(), AllocateError> {
    let mut parts = vec![head, pickle];
    for (gap, buffer) in taken {
        parts.push(&GAP[..*gap]);
        parts.push(buffers::contents(buffer.bind(py)).unwrap_or(&[]));
    }
    answers.push_parts(kind::DONE, &parts)
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
        if self.functions.len() >= KEPT || self.function_bytes + bytes.len() > KEPT_BYTES {
            self.functions.clear();
            self.function_bytes = 0;
        }
        self.function_bytes += bytes.len();
        let loaded = self.load_function(bytes);
        self.functions.insert(function, loaded);
    }

    fn run(&mut self, call: &Call<'_>, answers: &mut Answers<'_>) {
        let Some(loaded) = self.functions.remove(&call.function) else { return };
        shared::drop_released();
        let loads = self.names.loads.bind(self.py);
        let mut decoder = Decoder::new(call.input, loads).with_buffers(call.buffers);
        let items = call.item..call.item + u64::from(call.count);
        begin_call(items.clone(), &loaded.function);
        if call.devices != 0 {
            show_devices(self.py, call.devices);
        }
        // Known of the first item only: to look at the clock for each would take as long as a short call.
        let mut began_ns = Some(call.began_ns);
        current::here(|current| {
            for (item, place) in items.zip(0..) {
                let index = call.first.wrapping_add(place);
                let input = decoder.rest();
                let begun = Place { index, attempt: call.attempt, devices: call.devices };
                let is_over = current.begin_attempt(item, begun) && stops_at_once(item, call.attempt);
                let mut result = if is_over { decoder.next() } else { self.call(&loaded, &mut decoder) };
                run_to_end(&mut result);
                flush_if_owed(self.py);
                // From here on it cannot be stopped any more.
                let stopped = stops::end_item(current);
                let of = Attempt { loaded: &loaded, input, begun: call.attempt, began_ns: began_ns.take() };
                match stopped {
                    None => self.answer(result, &of, answers),
                    Some(Stopped { stack, drops_chunk }) => {
                        stops::leave_out(self.py, &result);
                        drop(result);
                        if drops_chunk {
                            break;
                        }
                        self.answer_stopped(&stack, &of, answers);
                    }
                }
                buffers::let_go_of_given();
                shared::take_back();
            }
            current.end();
        });
        if call.devices != 0 {
            show_devices(self.py, 0);
        }
        buffers::let_go_of_given();
        shared::take_back();
        if self.lingering.is_empty() {
            forget_passing();
        }
        self.functions.insert(call.function, loaded);
    }

    fn most_lingering(&self) -> usize {
        self.most_coroutines
    }

    fn begin(&mut self, number: usize, call: &Call<'_>) {
        shared::drop_released();
        let Some(loaded) = self.functions.remove(&call.function) else { return };
        let mut decoder = Decoder::new(call.input, self.names.loads.bind(self.py)).with_buffers(call.buffers);
        begin_call(call.item..call.item + u64::from(call.count), &loaded.function);
        // Taken out, because making a coroutine needs the rest of this.
        let mut coroutines = std::mem::replace(&mut self.coroutines, Coroutines::new(self.py));
        coroutines.begin(number, call, |item, index| {
            let place = Place { index, attempt: call.attempt, devices: call.devices };
            let begin = |current: &Current| current.begin_attempt(item, place);
            let is_over = current::here(begin) && stops_at_once(item, call.attempt);
            let made = if is_over { decoder.next() } else { self.call(&loaded, &mut decoder) };
            let stopped = current::here(stops::end_item);
            current::end_item();
            let Some(Stopped { stack, .. }) = stopped else { return made.map_err(|error| Ended::Itself(Err(error))) };
            stops::leave_out(self.py, &made);
            if let Ok(coroutine) = made {
                // It will not be awaited, and that is nobody's fault.
                let _ = coroutine.call_method0(intern!(self.py, "close"));
            }
            Err(Ended::Stopped(stack))
        });
        self.coroutines = coroutines;
        self.lingering.insert(number, Lingering::of(call, buffers::take_given()));
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
        let Some(call) = self.lingering.remove(&number) else { return };
        let Some(loaded) = self.functions.remove(&call.function) else { return };
        let mut decoder = Decoder::new(&call.input, self.names.loads.bind(self.py));
        for ended in self.coroutines.settle(number) {
            let input = decoder.rest();
            if call.count > 1 {
                // To where the next one's input begins.
                let _ = decoder.next();
            }
            let began_ns = Some(call.began_ns);
            let of = Attempt { loaded: &loaded, input, begun: call.attempt, began_ns };
            match ended {
                Ended::Itself(result) => self.answer(result, &of, answers),
                Ended::Stopped(stack) => self.answer_stopped(&stack, &of, answers),
            }
        }
        self.functions.insert(call.function, loaded);
        buffers::let_go(call.given);
    }

    fn leave(&mut self) {
        self.coroutines.leave();
    }

    fn is_warm(&self) -> bool {
        shared::is_open()
    }

    fn cool(&mut self) {
        shared::drop_released();
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
