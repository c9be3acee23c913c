//! Owns bytes that are being put together for one place: most of them written here, long runs left where they are until
//! then, so that they are copied once. Never knows what they mean.

use pyo3::prelude::*;

/// A run of at least this length is not copied before it has to be.
const LEFT_FROM: usize = 4 << 10;

/// Bytes, some of which still lie elsewhere.
#[derive(Default)]
pub(crate) struct Gather {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    run_bytes: usize,
    leaves_runs: bool,
    /// Nothing else runs before they are copied, so what may change does not.
    is_of_one_call: bool,
}

/// Some bytes in the memory of an object, and before which of those that are here they come.
struct Run {
    before: usize,
    start: *const u8,
    length: usize,
    _owner: Box<dyn Owner>,
}

/// What keeps a run's memory where it is, and as it is.
pub(crate) trait Owner {}

impl Owner for Py<PyAny> {}

/// How much there was at some moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mark {
    bytes: usize,
    runs: usize,
}

impl Gather {
    /// None yet, over memory that is there; long runs are left where they are. Those that may change only if these are the
    /// bytes of one call: between the items of a map, code runs that may fill the same array anew.
    pub(crate) fn leaving_runs(mut memory: Vec<u8>, is_of_one_call: bool) -> Self {
        memory.clear();
        Self { bytes: memory, leaves_runs: true, is_of_one_call, ..Self::default() }
    }

    /// How many bytes there are altogether.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.run_bytes
    }

    pub(crate) fn clear(&mut self) {
        self.cut(Mark::default());
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), runs: self.runs.len() }
    }

    /// Takes back what has come since.
    pub(crate) fn cut(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        if self.runs.len() > mark.runs {
            self.cut_runs(mark);
        }
    }

    #[cold]
    fn cut_runs(&mut self, mark: Mark) {
        self.run_bytes -= self.runs.drain(mark.runs..).map(|run| run.length).sum::<usize>();
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends bytes that stay where they are, and as they are, as long as `owner` is kept.
    pub(crate) fn extend_from<O: Owner + 'static>(&mut self, bytes: &[u8], owner: impl FnOnce() -> O) {
        if self.leaves_runs && bytes.len() >= LEFT_FROM {
            let (before, start, length) = (self.bytes.len(), bytes.as_ptr(), bytes.len());
            self.runs.push(Run { before, start, length, _owner: Box::new(owner()) });
            self.run_bytes += length;
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The same of bytes that `owner` does not keep as they are.
    pub(crate) fn extend_from_changing<O: Owner + 'static>(&mut self, bytes: &[u8], owner: impl FnOnce() -> O) {
        if self.is_of_one_call { self.extend_from(bytes, owner) } else { self.bytes.extend_from_slice(bytes) }
    }

    /// What is here, without the runs.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The runs, and before which of the bytes here each comes.
    pub(crate) fn runs(&self) -> Vec<(usize, &[u8])> {
        // SAFETY: the owner keeps the memory, and is kept.
        let run = |run: &Run| unsafe { std::slice::from_raw_parts(run.start, run.length) };
        self.runs.iter().map(|one| (one.before, run(one))).collect()
    }

    /// The memory of what is here, for the next.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }
}
