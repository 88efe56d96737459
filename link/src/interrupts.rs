//! Whether packets are handled on a program's core: interrupts, and what the kernel does after them. SPEC 9.2.

use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::path::Path;

/// Why packets of an interface may be handled on one of `cores`, each reason with what mends it. `root` is `/`, but in tests.
/// What cannot be read or is not understood is a reason.
pub fn interrupts(root: &Path, device: &str, cores: &BTreeSet<usize>) -> Vec<String> {
    let mut reasons = vec![];
    let folder = root.join("sys/class/net").join(device);
    let Ok(entries) = read_dir(&folder) else {
        return vec![format!("{device}: there is no such interface")];
    };
    let read = |name: &str| read_to_string(folder.join(name)).ok();
    if read("threaded").is_some_and(|text| text.trim() != "0") {
        reasons.push(format!(
            "{device}: its packets are handled by a thread, on any core: set threaded to 0"
        ));
    }
    for entry in entries.flatten() {
        // What it is made of: the card below a VLAN or a bond.
        if let Some(lower) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix("lower_"))
        {
            reasons.extend(interrupts(root, lower, cores));
        }
    }
    for queue in read_dir(folder.join("queues")).into_iter().flatten().flatten() {
        let name = queue.file_name().to_string_lossy().into_owned();
        let file = |file: &str| read(&format!("queues/{name}/{file}"));
        if file("rps_cpus").is_some_and(|text| cpu_mask(&text).is_none_or(|set| !set.is_disjoint(cores))) {
            reasons.push(format!(
                "{device}: packets of {name} are sent to the gate's core (rps_cpus)"
            ));
        }
        if file("rps_flow_cnt").is_some_and(|text| text.trim() != "0") {
            reasons.push(format!(
                "{device}: packets of {name} follow whoever reads them (rps_flow_cnt): set it to 0"
            ));
        }
    }
    // A virtual one has no interrupts.
    if let Ok(card) = folder.join("device").canonicalize() {
        of_card(root, device, &card, cores, &mut reasons);
    }
    reasons
}

/// Whether these are all cores of the machine, or nobody can tell.
pub fn is_every_core(cores: &BTreeSet<usize>) -> bool {
    let online = read_to_string("/sys/devices/system/cpu/online").ok();
    let online = online.as_deref().and_then(cpu_list);
    online.is_none_or(|online| online.is_subset(cores))
}

fn of_card(root: &Path, device: &str, card: &Path, cores: &BTreeSet<usize>, reasons: &mut Vec<String>) {
    let Ok(table) = read_to_string(root.join("proc/interrupts")) else {
        return reasons.push("/proc/interrupts cannot be read".to_owned());
    };
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let is_virtio = name(card).is_some_and(|name| name.starts_with("virtio"));
    // Of a virtio interface the slot above it has the interrupts.
    let slots = [Some(card), card.parent().filter(|_| is_virtio)];
    let slots = || slots.iter().copied().flatten();
    let mut names: Vec<String> = slots().filter_map(name).collect();
    names.retain(|name| name.contains(':') || is_virtio);
    names.push(device.to_owned());
    let mut numbers: BTreeSet<u32> = table.lines().filter_map(|line| of_line(line, &names)).collect();
    for slot in slots() {
        let entries = read_dir(slot.join("msi_irqs")).into_iter().flatten().flatten();
        numbers.extend(entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()));
    }
    if numbers.is_empty() {
        reasons.push(format!(
            "{device}: none of its interrupts is in /proc/interrupts: nobody can say on which core they are"
        ));
    }
    for number in numbers {
        let read = |name| read_to_string(root.join(format!("proc/irq/{number}/{name}"))).ok();
        // One that is not in use has no place yet, only where it may be.
        let effective = read("effective_affinity_list").filter(|text| !text.trim().is_empty());
        let set = effective.or_else(|| read("smp_affinity_list"));
        if set
            .and_then(|text| cpu_list(&text))
            .is_none_or(|set| !set.is_disjoint(cores))
        {
            reasons.push(format!(
                "{device}: interrupt {number} may be on the gate's core: see /proc/irq/{number}/smp_affinity_list, irqbalance"
            ));
        }
    }
}

/// The number of the interrupt in this line of /proc/interrupts, if the line has one of these names as a word.
fn of_line(line: &str, names: &[String]) -> Option<u32> {
    let (number, rest) = line.split_once(':')?;
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '.');
    let is_in = |name: &String| {
        rest.match_indices(name.as_str()).any(|(at, _)| {
            is_end(rest[..at].chars().next_back()) && is_end(rest[at + name.len()..].chars().next())
        })
    };
    names.iter().any(is_in).then(|| number.trim().parse().ok())?
}

/// `0-3,8`, as the kernel writes lists of cores; `None` if it is none.
fn cpu_list(text: &str) -> Option<BTreeSet<usize>> {
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    let ranges = parts.map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok().filter(|&last| last < CORES_MAX)?)
    });
    Some(
        ranges
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect(),
    )
}

/// `ff,00000003`, as the kernel writes masks of cores.
fn cpu_mask(text: &str) -> Option<BTreeSet<usize>> {
    let mut set = BTreeSet::new();
    for (place, word) in text.trim().rsplit(',').enumerate() {
        let word = u32::from_str_radix(word, 16).ok()?;
        set.extend(
            (0..32)
                .filter(|bit| word >> bit & 1 == 1)
                .map(|bit| place * 32 + bit),
        );
    }
    Some(set)
}

/// More than any machine has.
const CORES_MAX: usize = 1 << 16;
