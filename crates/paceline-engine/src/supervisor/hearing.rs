//! Hears what workers say, unless so much of it waits to be passed on that it has to stay where it is for a while.

use super::{ERRORS, House, KINDS, Life, OUTPUT, RECORDS};
use crate::output::{Voice, is_backed_up};
use crate::words::Words;
use rustix::io::Errno;

const VOICES: [(u64, Voice); 3] = [(OUTPUT, Voice::Output), (ERRORS, Voice::Errors), (RECORDS, Voice::Record)];

impl Life {
    /// Whether its words begin with a process id that is not known yet.
    fn is_nameless(&self) -> bool {
        self.pid == 0 && self.words.are_prefixed()
    }
}

impl House {
    pub(super) fn watch_words(&self, birth: u64, words: &Words) -> Result<(), Errno> {
        VOICES.iter().try_for_each(|(kind, voice)| self.add(words.ear(*voice), birth * KINDS + kind))
    }

    pub(super) fn forget_words(&self, words: &Words) {
        for (_, voice) in VOICES {
            self.forget(words.ear(voice));
        }
    }

    pub(super) fn on_words(&mut self, birth: u64, voice: Voice) {
        let Some(life) = self.lives.get_mut(&birth) else { return };
        if life.is_nameless() {
            // It may well speak before the fork server has told of it; what it says is read when it has.
            if let Some(life) = self.lives.get(&birth) {
                self.forget_words(&life.words);
            }
            return;
        }
        if !life.words.listen(voice, life.pid)
            && let Some(life) = self.lives.get(&birth)
        {
            self.forget(life.words.ear(voice));
        }
    }

    /// What has been said up to now is read even if there is too much of it already: no pipe holds much.
    pub(super) fn hear_all(&mut self, ends_lines: bool) {
        for life in self.lives.values_mut().filter(|life| !life.is_nameless()) {
            life.words.listen_to_all(life.pid);
            if ends_lines {
                life.words.end_lines(life.pid);
            }
        }
    }

    /// The fork server has told of a worker, whose words may have been left until then.
    pub(super) fn hear_the_named(&self, birth: u64) {
        if let Some(life) = self.lives.get(&birth).filter(|life| life.words.are_prefixed() && !self.muted) {
            // Those that are watched already stay so.
            let _ = self.watch_words(birth, &life.words);
        }
    }

    pub(super) fn mute_or_unmute(&mut self) {
        let muted = is_backed_up();
        if muted == self.muted {
            return;
        }
        self.muted = muted;
        for (birth, life) in &self.lives {
            if muted {
                self.forget_words(&life.words);
            } else {
                let _ = self.watch_words(*birth, &life.words);
            }
        }
    }
}
