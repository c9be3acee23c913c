//! Owns what people are told of the machine, and of what this process may use of it. What a pool makes of it is decided
//! elsewhere.

use crate::control_groups::{Group, groups};
use crate::memory_limits::{of_groups, of_machine, out_of_memory_kills};

/// What this process may use of the machine, as far as the system tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// How many CPUs' time its control groups give it; none for no quota.
    pub cpu_quota: Option<f64>,
    /// How many bytes of memory there are.
    pub memory_bytes: Option<u64>,
    /// How many of them can be had now.
    pub available_bytes: Option<u64>,
    /// How many bytes its control groups let it have, with those beside it; none for no limit.
    pub group_limit_bytes: Option<u64>,
    /// How often the system has ended a process of its control group for want of memory.
    pub out_of_memory_kills: u64,
}

impl Machine {
    /// What the system tells now. `root` is the folder of its file systems: empty, but in tests.
    #[must_use]
    pub fn look(root: &str) -> Self {
        Self {
            cpu_quota: groups("cpu", root).iter().filter_map(quota).min_by(f64::total_cmp),
            memory_bytes: of_machine("MemTotal:", root),
            available_bytes: of_machine("MemAvailable:", root),
            group_limit_bytes: of_groups(root),
            out_of_memory_kills: out_of_memory_kills(root).unwrap_or(0),
        }
    }
}

/// How many CPUs' time a group has; none for any.
#[expect(clippy::cast_precision_loss, reason = "both are microseconds of a period, which is short")]
fn quota(group: &Group) -> Option<f64> {
    let (quota, period) = if group.is_first_version {
        let of = |file| group.number(file, file);
        (of("cpu.cfs_quota_us")?, of("cpu.cfs_period_us")?)
    } else {
        let text = group.read("cpu.max", "cpu.max")?;
        let (quota, period) = text.trim().split_once(' ')?;
        // No quota is `max`; in the first version it is negative.
        (quota.parse().ok()?, period.trim().parse().ok()?)
    };
    (period > 0).then(|| quota as f64 / period as f64)
}
