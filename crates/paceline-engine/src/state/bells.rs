//! Owns the count of jobs whose end is to ring a bell. Never rings; the job's end does.

use crate::pending::Stream;
use std::sync::Arc;

/// The streams with a bell for which jobs are out, and how many each: hardly ever more than one.
#[derive(Debug, Default)]
pub(super) struct Bells(Vec<(Arc<Stream>, usize)>);

impl Bells {
    pub(super) fn expect(&mut self, stream: &Arc<Stream>) {
        match self.0.iter_mut().find(|(known, _)| Arc::ptr_eq(known, stream)) {
            Some((_, out)) => *out += 1,
            None => self.0.push((Arc::clone(stream), 1)),
        }
    }

    pub(super) fn heard(&mut self, stream: &Arc<Stream>) {
        let Some(index) = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, stream)) else { return };
        self.0[index].1 -= 1;
        if self.0[index].1 == 0 {
            self.0.swap_remove(index);
        }
    }

    /// Whether ends must be taken in as they come. One whose bell has been rung comes and takes them in itself.
    pub(super) fn must_ring(&self) -> bool {
        self.0.iter().any(|(stream, _)| !stream.is_rung())
    }
}
