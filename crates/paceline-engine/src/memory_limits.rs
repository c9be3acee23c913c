//! Owns how much memory there may be, and is left: of the machine, and of the control group that this process is in.
//! Never decides what to do about it.

use crate::control_groups::{Group, amount_of, groups};
use std::fs::read_to_string;

/// The first version writes a number of about 2 to the power of 63 where there is no limit.
const NO_LIMIT_FROM: u64 = 1 << 60;

/// How many bytes a group may have; none if any number.
fn limit(group: &Group) -> Option<u64> {
    group.number("memory.limit_in_bytes", "memory.max").filter(|bytes| *bytes < NO_LIMIT_FROM)
}

/// How many bytes a group has left, if it has a limit; what can be dropped at once counts as left.
fn left(group: &Group) -> Option<u64> {
    let limit = limit(group)?;
    let used = group.number("memory.usage_in_bytes", "memory.current")?;
    let name = if group.is_first_version { "total_inactive_file" } else { "inactive_file" };
    let droppable = group.read("memory.stat", "memory.stat").and_then(|stat| amount_of(&stat, name)).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(droppable)))
}

/// An amount of `/proc/meminfo` in bytes.
pub(crate) fn of_machine(name: &str, root: &str) -> Option<u64> {
    amount_of(&read_to_string(format!("{root}/proc/meminfo")).ok()?, name)?.checked_mul(1 << 10)
}

/// How many bytes of memory the control groups of this process let it have, with those beside it.
pub(crate) fn of_groups(root: &str) -> Option<u64> {
    groups("memory", root).iter().filter_map(limit).min()
}

/// How many bytes of memory this process and those beside it may have, as far as is known.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    of_groups("").into_iter().chain(of_machine("MemTotal:", "")).min()
}

/// Whether so many bytes more can be had now, as far as is known.
#[must_use]
pub fn has_memory(bytes: u64) -> bool {
    groups("memory", "").iter().filter_map(left).chain(of_machine("MemAvailable:", "")).all(|left| bytes <= left)
}

/// How often the system has ended processes of this one's control group for want of memory; none if it does not tell.
pub(crate) fn out_of_memory_kills(root: &str) -> Option<u64> {
    // The nearest group that tells.
    let told = |group: &Group| amount_of(&group.read("memory.oom_control", "memory.events")?, "oom_kill");
    groups("memory", root).iter().rev().find_map(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_machine_is_known_and_not_without_end() {
        let limit = memory_limit().unwrap();
        assert!(limit > 1 << 20);
        assert!(has_memory(1));
        assert!(!has_memory(limit + 1));
    }
}
