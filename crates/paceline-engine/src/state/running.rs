//! Owns what is told of the workers' present: who runs what, since when. Only looks.

use super::{Context, State};

/// What one worker runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process id.
    pub pid: i32,
    /// The function, for people.
    pub function: String,
    /// The item's number among all that were ever submitted to the pool.
    pub item: u64,
    /// Its place in its job.
    pub index: u32,
    /// How often it had been begun before.
    pub attempt: u16,
    /// When it began; if it is not the first of its chunk, when the chunk did.
    pub began_ns: u64,
}

impl State {
    /// What each worker runs now, by slot.
    pub(crate) fn running(&mut self, context: &Context<'_>) -> Vec<Running> {
        let places = self.place_of_chunk.iter().flatten();
        let seen = places.filter_map(|place| {
            let sight = context.table.look(*place).filter(|sight| sight.began_ns > 0)?;
            let what = self.core.chunk(self.chunk_of_slot[place.slot as usize])?;
            let seat = self.seats.get(usize::from(sight.owner))?.as_ref()?;
            let job = self.jobs[what.job.0 as usize].job.as_ref()?;
            let index = what.first + sight.finished.min(what.count - 1);
            Some(Running {
                pid: seat.pid,
                function: job.function.name.to_string(),
                item: job.first_item + u64::from(index),
                index,
                attempt: what.attempt,
                began_ns: sight.began_ns,
            })
        });
        seen.collect()
    }
}
