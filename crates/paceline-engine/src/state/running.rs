//! Owns what is told of the workers' present: who runs what, since when. Only looks.

use super::{Context, State};
use crate::pending::Pending;
use paceline_ipc::table::Place;

/// What one worker runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process id.
    pub pid: i32,
    /// The function, or the name that stands for it.
    pub function: String,
    /// The item's number among all that were ever submitted to the pool.
    pub item: u64,
    /// Its place in its map, if it is part of one.
    pub index: Option<u32>,
    /// How often it had been begun before.
    pub attempt: u16,
    /// When it began; if it is not the first of its chunk, when the chunk did.
    pub began_ns: u64,
}

impl State {
    /// How many items of a job have an outcome, also those of a chunk that is not finished; none once it has ended.
    pub(crate) fn finished_items(&self, pending: &Pending, context: &Context<'_>) -> Option<u64> {
        let number = pending.job()?;
        let job = self.jobs[number.0 as usize].job.as_ref()?;
        let under_way = |place: &Place| {
            let what = self.core.chunk(self.chunk_of_slot[place.slot as usize]).filter(|what| what.job == number)?;
            context.table.look(*place).map(|sight| u64::from(sight.finished.min(what.count)))
        };
        let unfinished = self.place_of_chunk.iter().flatten().filter_map(under_way).sum::<u64>();
        Some(job.parts.items() + unfinished)
    }

    /// What each worker runs now, by slot.
    pub(crate) fn running(&mut self, context: &Context<'_>) -> Vec<Running> {
        let places = self.place_of_chunk.iter().flatten();
        let seen = places.filter_map(|place| {
            let sight = context.table.look(*place).filter(|sight| sight.began_ns > 0)?;
            let what = self.core.chunk(self.chunk_of_slot[place.slot as usize])?;
            let seat = self.seats.get(usize::from(sight.owner))?.as_ref()?;
            let job = self.jobs[what.job.0 as usize].job.as_ref()?;
            let place = what.first + sight.finished.min(what.count - 1);
            let label = job.pending.label();
            let is_of_map = job.ends.is_some() || label.base.is_some();
            Some(Running {
                pid: seat.pid,
                function: label.name.as_deref().unwrap_or(&job.function.name).to_owned(),
                item: job.number_of(place),
                index: is_of_map.then(|| job.pending.index_of(place)),
                attempt: what.attempt,
                began_ns: sight.began_ns,
            })
        });
        seen.collect()
    }
}
