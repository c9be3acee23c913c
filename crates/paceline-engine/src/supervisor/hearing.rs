//! Hears what workers say, unless so much of it waits to be passed on that it has to stay where it is for a while.

use super::{ERRORS, House, KINDS, OUTPUT, RECORDS};
use crate::output::{Voice, is_backed_up};
use crate::words::Words;
use rustix::io::Errno;

const VOICES: [(u64, Voice); 3] = [(OUTPUT, Voice::Output), (ERRORS, Voice::Errors), (RECORDS, Voice::Record)];

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
        if !life.words.listen(voice, life.pid)
            && let Some(life) = self.lives.get(&birth)
        {
            self.forget(life.words.ear(voice));
        }
    }

    /// What has been said up to now is read even if there is too much of it already: no pipe holds much.
    pub(super) fn hear_all(&mut self, ends_lines: bool) {
        for life in self.lives.values_mut() {
            life.words.listen_to_all(life.pid);
            if ends_lines {
                life.words.end_lines(life.pid);
            }
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
