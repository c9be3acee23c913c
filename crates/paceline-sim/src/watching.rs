//! Owns the engine's looks at what the workers do: when it wakes up for one, and what it tells the core then. Never
//! decides what is looked at.

use paceline_core::{Event, Moment, WorkerId};

use crate::agenda::Happening;
use crate::invariants::Violation;
use crate::scenario::STEP_NS;
use crate::world::World;

/// A wake-up that is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    /// For which moment it was asked.
    for_ns: u64,
    /// When it comes.
    at_ns: u64,
    /// Whether the engine has slept over one for that moment already.
    is_second: bool,
}

impl World<'_> {
    /// Sees to it that the engine wakes up when the core wants a look, or somewhat later.
    pub(crate) fn set_alarm(&mut self) {
        let Some(Moment(for_ns)) = self.decider.next_look() else { return };
        if self.alarm.is_none_or(|alarm| for_ns < alarm.for_ns) {
            self.sleep(for_ns, for_ns.max(self.now_ns), false);
        }
    }

    fn sleep(&mut self, for_ns: u64, until_ns: u64, is_second: bool) {
        let delay_steps = self.random.between(0, self.scenario.longest_look_delay_steps);
        let at_ns = until_ns + u64::from(delay_steps) * STEP_NS;
        self.alarm = Some(Alarm { for_ns, at_ns, is_second });
        self.agenda.add(at_ns, Happening::WakeUp, &mut self.random);
    }

    /// The engine wakes up: for a look, for one that it wants no more, or for nothing.
    pub(crate) fn wake_up(&mut self) -> Result<(), Violation> {
        let alarm = self.alarm.take_if(|alarm| alarm.at_ns <= self.now_ns);
        let is_wanted = self.decider.next_look().is_some_and(|at| at.0 <= self.now_ns);
        let lost_percent = self.scenario.lost_look_percent;
        if let Some(alarm) = alarm.filter(|alarm| is_wanted && !alarm.is_second && self.random.chance(lost_percent)) {
            self.sleep(alarm.for_ns, self.now_ns, true);
            Ok(())
        } else if is_wanted || self.random.chance(self.scenario.needless_look_percent) {
            self.look_around()
        } else {
            Ok(())
        }
    }

    /// Tells of every chunk that is watched and begun, in any order, and that time has passed. What a worker does at the
    /// same moment may not be seen yet.
    fn look_around(&mut self) -> Result<(), Violation> {
        let decider = &*self.decider;
        let mut in_sight: Vec<_> =
            self.table.begun().filter(|(_, entry)| decider.scheduler().is_watched(entry.chunk)).collect();
        while !in_sight.is_empty() {
            let count = u32::try_from(in_sight.len()).unwrap_or(1);
            let (seat, entry) = in_sight.swap_remove(self.random.below(count) as usize);
            let has_just_ended = entry.finished > entry.sighted && self.now_ns - entry.item_ended_at_ns <= STEP_NS;
            let finished = entry.finished - u32::from(has_just_ended && self.random.chance(30));
            if let Some(entry) = self.table.entry(entry.key) {
                entry.sighted = finished;
            }
            let (chunk, worker) = (entry.chunk, WorkerId(seat));
            let began = Moment(entry.began_at_ns);
            self.tell(Event::ChunkSighted { chunk, worker, finished, began })?;
        }
        self.tell(Event::TimePassed)
    }
}
