//! Owns how much memory there may be, and is left: of the machine, and of the control group that this process is in.
//! Never decides what to do about it.

use std::fs::read_to_string;

/// Where the memory controller of a group tells of itself, from the group of this process up to where others' begin.
struct Group {
    folder: String,
    is_first_version: bool,
}

/// Looked for each time, since a process may be moved to another.
fn groups() -> Vec<Group> {
    let text = read_to_string("/proc/self/cgroup").unwrap_or_default();
    text.lines().flat_map(groups_in).collect()
}

/// Of one line of `/proc/self/cgroup`: `number:controllers:path`, without controllers in the second version.
fn groups_in(line: &str) -> Vec<Group> {
    let Some((controllers, path)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else {
        return Vec::new();
    };
    let is_first_version = controllers.split(',').any(|controller| controller == "memory");
    let root = match controllers {
        "" => "/sys/fs/cgroup",
        _ if is_first_version => "/sys/fs/cgroup/memory",
        _ => return Vec::new(),
    };
    // In a container the group may be mounted at the root, which is among its ancestors' names.
    let ends = path.trim_end_matches('/').char_indices().filter(|(_, letter)| *letter == '/').map(|(at, _)| at);
    let ends = ends.chain([path.trim_end_matches('/').len()]);
    ends.map(|end| Group { folder: format!("{root}{}", &path[..end]), is_first_version }).collect()
}

impl Group {
    fn read(&self, file: &str) -> Option<String> {
        read_to_string(format!("{}/{file}", self.folder)).ok()
    }

    fn number(&self, first: &str, second: &str) -> Option<u64> {
        self.read(if self.is_first_version { first } else { second })?.trim().parse().ok()
    }

    /// How many bytes it may have; none if any number.
    fn limit(&self) -> Option<u64> {
        self.number("memory.limit_in_bytes", "memory.max")
    }

    /// How many bytes are left, if it has a limit; what can be dropped at once counts as left.
    fn left(&self) -> Option<u64> {
        let limit = self.limit()?;
        let used = self.number("memory.usage_in_bytes", "memory.current")?;
        let name = if self.is_first_version { "total_inactive_file " } else { "inactive_file " };
        let droppable = self.read("memory.stat").and_then(|stat| amount_of(&stat, name)).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(droppable)))
    }
}

/// The number behind a name at the beginning of a line.
fn amount_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
}

fn of_machine(name: &str) -> Option<u64> {
    Some(amount_of(&read_to_string("/proc/meminfo").ok()?, name)? << 10)
}

/// How many bytes of memory this process and those beside it may have, as far as is known.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    groups().iter().filter_map(Group::limit).chain(of_machine("MemTotal:")).min()
}

/// Whether so many bytes more can be had now, as far as is known.
#[must_use]
pub fn has_memory(bytes: u64) -> bool {
    groups().iter().filter_map(Group::left).chain(of_machine("MemAvailable:")).all(|left| bytes <= left)
}

/// How often the system has ended processes of this one's control group for want of memory; none if it does not tell.
pub(crate) fn out_of_memory_kills() -> Option<u64> {
    // The nearest group that tells.
    groups().iter().rev().find_map(|group| {
        let file = if group.is_first_version { "memory.oom_control" } else { "memory.events" };
        amount_of(&group.read(file)?, "oom_kill ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(line: &str) -> Vec<String> {
        groups_in(line).into_iter().map(|group| group.folder).collect()
    }

    #[test]
    fn group_and_its_ancestors_are_found_in_both_versions() {
        assert_eq!(folders("0::/a/b"), ["/sys/fs/cgroup", "/sys/fs/cgroup/a", "/sys/fs/cgroup/a/b"]);
        assert_eq!(folders("0::/"), ["/sys/fs/cgroup"]);
        assert_eq!(folders("4:memory:/a"), ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a"]);
        assert_eq!(folders("9:name=systemd:/a"), [""; 0]);
        assert_eq!(folders("nonsense"), [""; 0]);
    }

    #[test]
    fn memory_of_this_machine_is_known_and_not_without_end() {
        let limit = memory_limit().unwrap();
        assert!(limit > 1 << 20);
        assert!(has_memory(1));
        assert!(!has_memory(limit + 1));
        assert_eq!(amount_of("a 1\ninactive_file 20\n", "inactive_file "), Some(20));
    }
}
