//! What a process used, from `/proc` (proc(5)).

use std::time::Duration;

/// Processor time of a process, or of a process and its children (a PostgreSQL server is a family of them).
pub fn cpu(pid: u32, family: bool) -> Duration {
    let mut ticks = ticks_of(pid).map_or(0, |(_, ticks)| ticks);
    if family {
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
                && let Some((parent, used)) = ticks_of(child)
                && parent == pid
            {
                ticks += used;
            }
        }
    }
    // A tick is 10 ms on every Linux that has USER_HZ at its usual 100.
    Duration::from_millis(ticks * 10)
}

/// The parent, and user and system ticks together.
fn ticks_of(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, number(11)? + number(12)?))
}

/// Memory in bytes: what a process holds for itself, and with it the pages of files (of its program, of a database's) that are mapped.
/// A page of a file is the system's and counted once for each mapping, so with several connections to one file more than once.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub own: u64,
    pub resident: u64,
}

/// The memory of a process.
pub fn memory(pid: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    };
    Memory {
        own: bytes("RssAnon:"),
        resident: bytes("VmRSS:"),
    }
}
