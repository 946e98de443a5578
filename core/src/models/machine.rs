//! Facts about this machine that decide which models fit it. The one place that asks the system for them.

use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What the machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Main memory in bytes that this process may use: the machine's, or its container's limit; 0 when unknown.
    pub memory_bytes: u64,
    /// Main memory in bytes that is free or can be freed at once.
    pub available_bytes: u64,
    /// Logical processors.
    pub processors: usize,
    /// The graphics processor that models could run on.
    pub gpu: Option<Gpu>,
}

/// A graphics processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its name, for people.
    pub name: String,
    /// Its memory in bytes; `None` when unknown. Where it shares main memory, that memory.
    pub memory_bytes: Option<u64>,
    /// Whether this build can use it.
    pub usable: bool,
}

impl Machine {
    /// Asks the system. Takes a few milliseconds.
    pub fn read() -> Self {
        let (memory_bytes, available_bytes) = memory();
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            memory_bytes,
            available_bytes,
            processors,
            gpu: find_gpu(memory_bytes),
        }
    }
}

fn memory() -> (u64, u64) {
    let Ok(mut system) = sysinfo::System::new() else {
        return (0, 0);
    };
    system.refresh_memory();
    let (total, available) = (system.total_memory(), system.available_memory());
    match system.cgroup_limits() {
        Some(limits) if limits.total_memory > 0 => {
            (total.min(limits.total_memory), available.min(limits.free_memory))
        }
        _ => (total, available),
    }
}

/// Bytes that an ordinary user may still write to the disk that holds `path`, which must exist.
///
/// # Errors
/// When the system does not say.
pub fn free_disk_bytes(path: &Path) -> io::Result<u64> {
    disk::free_bytes(path)
}

#[cfg(unix)]
mod disk {
    use std::io;
    use std::path::Path;

    pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
        let figures = rustix::fs::statvfs(path)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }
}

#[cfg(not(unix))]
mod disk {
    use std::io;
    use std::path::Path;

    pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
        let path = path.canonicalize()?;
        sysinfo::Disks::new_with_refreshed_list()
            .iter()
            .filter(|disk| {
                let mount = disk.mount_point().canonicalize();
                path.starts_with(mount.as_deref().unwrap_or(disk.mount_point()))
            })
            .max_by_key(|disk| disk.mount_point().as_os_str().len())
            .map(sysinfo::Disk::available_space)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no disk holds this folder"))
    }
}

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
fn find_gpu(memory_bytes: u64) -> Option<Gpu> {
    // Apple's processors share main memory with their graphics part, which may use about two thirds of it.
    let memory_bytes = Some(memory_bytes / 3 * 2);
    Some(Gpu {
        name: "Apple GPU".into(),
        memory_bytes,
        usable: cfg!(feature = "metal"),
    })
}

#[cfg(target_os = "linux")]
fn find_gpu(_memory_bytes: u64) -> Option<Gpu> {
    // NVIDIA's driver describes its devices here; there is nothing to ask a library for.
    let device = std::fs::read_dir("/proc/driver/nvidia/gpus")
        .ok()?
        .flatten()
        .next()?;
    let text = super::files::read_small(&device.path().join("information"), 64 * 1024).unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("Model:"))
        .map_or("NVIDIA GPU", str::trim);
    Some(Gpu {
        name: name.into(),
        memory_bytes: None,
        usable: cfg!(feature = "cuda"),
    })
}

#[cfg(not(any(target_os = "linux", all(target_os = "macos", target_arch = "aarch64"))))]
fn find_gpu(_memory_bytes: u64) -> Option<Gpu> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_answers_plausibly() {
        let machine = Machine::read();
        assert!(machine.memory_bytes > 64 << 20, "{machine:?}");
        assert!(machine.available_bytes <= machine.memory_bytes, "{machine:?}");
        assert!(machine.processors >= 1);
        assert!(free_disk_bytes(&std::env::temp_dir()).unwrap() > 0);
        assert!(free_disk_bytes(Path::new("/nowhere/at/all")).is_err());
    }
}
