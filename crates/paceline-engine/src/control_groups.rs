//! Owns where the control groups of this process tell of themselves, in both versions of them. Never says what a figure
//! means.

use std::fs::read_to_string;

/// Where a controller of a group tells of itself.
pub(crate) struct Group {
    folder: String,
    pub(crate) is_first_version: bool,
}

/// The groups of this process that a controller looks after, from where others' begin down to its own. Looked for each time,
/// since a process may be moved to another. `root` is the folder of the file systems, none but in tests.
pub(crate) fn groups(controller: &str, root: &str) -> Vec<Group> {
    let text = read_to_string(format!("{root}/proc/self/cgroup")).unwrap_or_default();
    text.lines().flat_map(|line| groups_in(line, controller, root)).collect()
}

/// Of one line of `/proc/self/cgroup`: `number:controllers:path`, without controllers in the second version.
fn groups_in(line: &str, controller: &str, root: &str) -> Vec<Group> {
    let Some((controllers, path)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else {
        return Vec::new();
    };
    let is_first_version = controllers.split(',').any(|one| one == controller);
    let top = match controllers {
        "" => format!("{root}/sys/fs/cgroup"),
        _ if is_first_version => format!("{root}/sys/fs/cgroup/{controller}"),
        _ => return Vec::new(),
    };
    // In a container the group may be mounted at the root, which is among its ancestors' names.
    let path = path.trim_end_matches('/');
    let ends = path.char_indices().filter(|(_, letter)| *letter == '/').map(|(at, _)| at).chain([path.len()]);
    ends.map(|end| Group { folder: format!("{top}{}", &path[..end]), is_first_version }).collect()
}

impl Group {
    /// What stands in the file that has the first name in the first version, and the other in the second.
    pub(crate) fn read(&self, first: &str, second: &str) -> Option<String> {
        let file = if self.is_first_version { first } else { second };
        read_to_string(format!("{}/{file}", self.folder)).ok()
    }

    /// The number that is all that stands there.
    pub(crate) fn number(&self, first: &str, second: &str) -> Option<u64> {
        self.read(first, second)?.trim().parse().ok()
    }
}

/// The number behind a name that is the first word of a line.
pub(crate) fn amount_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == name).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(line: &str) -> Vec<String> {
        groups_in(line, "memory", "").into_iter().map(|group| group.folder).collect()
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
    fn amount_is_that_of_the_name_alone() {
        assert_eq!(amount_of("a 1\ntotal_inactive_file 3\ninactive_file 20\n", "inactive_file"), Some(20));
        assert_eq!(amount_of("MemTotal:  12 kB\n", "MemTotal:"), Some(12));
        assert_eq!(amount_of("oom_kill_disable 0\noom_kill many\n", "oom_kill"), None);
    }
}
