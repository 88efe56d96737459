//! Interfaces that would disturb the gate's core are found, in trees of files like a machine's.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use weir_link::interrupts;

/// As a machine with two cards has it, a virtio interface among them.
const TABLE: &str = "           CPU0       CPU1       CPU2       CPU3       
  9:          0          0          0          0   IO-APIC   9-fasteoi   acpi
 38:          0       3952          0          0 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
 39:       3186          0          0          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0
126:          0          0         12          0 PCI-MSI 1572864-edge      eth1-TxRx-0
127:          0          0          0        911 PCI-MSI 1572865-edge      eth10-TxRx-0
130:          0          0          5          0 IR-PCI-MSI 524288-edge      mlx5_comp0@pci:0000:41:00.0
LOC:     150000     149549     150001     150002   Local timer interrupts
ERR:          0
";

/// A machine of four cores, on which the gate has the last one.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write("proc/interrupts", TABLE);
        for (number, cores) in [(38, "1"), (39, "0"), (126, "2"), (127, "3"), (130, "0-2")] {
            machine.irq(number, cores);
        }
        machine.card("eth1", "sys/devices/pci0000:00/0000:00:19.0");
        machine.card("eth10", "sys/devices/pci0000:00/0000:00:1a.0");
        machine.card("ens3", "sys/devices/pci0000:00/0000:00:03.0/virtio2");
        machine.card("mlx", "sys/devices/pci0000:40/0000:41:00.0");
        machine.card("dark", "sys/devices/pci0000:40/0000:42:00.0");
        machine.write("sys/class/net/veth/queues/rx-0/rps_cpus", "0\n");
        machine
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn irq(&self, number: u32, cores: &str) {
        self.write(
            &format!("proc/irq/{number}/effective_affinity_list"),
            &format!("{cores}\n"),
        );
        self.write(&format!("proc/irq/{number}/smp_affinity_list"), "0-3\n");
    }

    fn card(&self, device: &str, path: &str) {
        let folder = format!("sys/class/net/{device}");
        self.write(&format!("{folder}/threaded"), "0\n");
        self.write(&format!("{folder}/queues/rx-0/rps_cpus"), "00000000,00000000\n");
        self.write(&format!("{folder}/queues/rx-0/rps_flow_cnt"), "0\n");
        fs::create_dir_all(self.0.path().join(path)).unwrap();
        symlink(
            self.0.path().join(path),
            self.0.path().join(folder).join("device"),
        )
        .unwrap();
    }

    fn reasons(&self, device: &str) -> Vec<String> {
        interrupts(self.0.path(), device, &BTreeSet::from([3]))
    }

    /// The only reason, which says all these words.
    fn refuses(&self, device: &str, words: &[&str]) {
        let reasons = self.reasons(device);
        assert_eq!(reasons.len(), 1, "{device}: {reasons:?}");
        for word in words {
            assert!(reasons[0].contains(word), "{word}: {reasons:?}");
        }
    }
}

#[test]
fn interrupts_elsewhere_pass_and_those_on_the_gates_core_are_named() {
    let machine = Machine::new();
    for device in ["eth1", "ens3", "mlx", "veth"] {
        assert_eq!(machine.reasons(device), [""; 0], "{device}");
    }
    // Its name is longer than eth1's, and so is its list.
    machine.refuses("eth10", &["eth10", "interrupt 127", "/proc/irq/127/"]);
    // A card is known by its own name, by its slot's, and by that of the slot above.
    for (device, number) in [("eth1", 126), ("mlx", 130), ("ens3", 38), ("ens3", 39)] {
        let machine = Machine::new();
        machine.irq(number, "2-3");
        machine.refuses(device, &[device, &format!("interrupt {number} ")]);
        // One that is not in use yet may come to wherever it is let.
        machine.irq(number, "");
        machine.refuses(device, &[&format!("interrupt {number} ")]);
    }
    // By the card's own list.
    machine.write("sys/devices/pci0000:00/0000:00:19.0/msi_irqs/127", "msi\n");
    machine.refuses("eth1", &["eth1", "interrupt 127"]);
    machine.refuses("dark", &["none of its interrupts"]);
    machine.refuses("eth7", &["no such interface"]);
}

#[test]
fn what_the_kernel_does_after_an_interrupt_counts_as_well() {
    for (file, text, word) in [
        ("queues/rx-0/rps_cpus", "8\n", "rps_cpus"),
        ("queues/rx-0/rps_cpus", "00000000,0000000c\n", "rps_cpus"),
        ("queues/rx-0/rps_cpus", "what?\n", "rps_cpus"),
        ("queues/rx-3/rps_cpus", "f\n", "rx-3"),
        ("queues/rx-0/rps_flow_cnt", "2048\n", "rps_flow_cnt"),
        ("threaded", "1\n", "thread"),
    ] {
        let machine = Machine::new();
        machine.write(&format!("sys/class/net/eth1/{file}"), text);
        machine.refuses("eth1", &["eth1", word]);
    }
    let machine = Machine::new();
    machine.write("sys/class/net/eth1/queues/rx-0/rps_cpus", "00000008,00000007\n");
    assert_eq!(machine.reasons("eth1"), [""; 0]);
}

#[test]
fn what_lies_below_an_interface_counts_and_what_cannot_be_read_is_refused() {
    let machine = Machine::new();
    machine.write("sys/class/net/vlan/lower_eth10/x", "");
    machine.refuses("vlan", &["eth10", "interrupt 127"]);
    for (file, text) in [
        ("proc/irq/126/effective_affinity_list", "some\n"),
        ("proc/irq/126/effective_affinity_list", "0-99999999999\n"),
    ] {
        machine.write(file, text);
        machine.refuses("eth1", &["interrupt 126"]);
    }
    fs::remove_dir_all(machine.0.path().join("proc/irq/126")).unwrap();
    machine.refuses("eth1", &["interrupt 126"]);
    fs::remove_file(machine.0.path().join("proc/interrupts")).unwrap();
    machine.refuses("eth1", &["/proc/interrupts"]);
}

#[test]
fn this_machines_own_files_are_read() {
    for entry in fs::read_dir("/sys/class/net").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // No core of ours, nothing in the way; unless a card has hidden its interrupts.
        let reasons = interrupts(Path::new("/"), &name, &BTreeSet::new());
        let of_cores = |reason: &&String| reason.contains("interrupt ") || reason.contains("rps_cpus");
        assert_eq!(reasons.iter().find(of_cores), None, "{reasons:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_in_the_files_there_is_an_answer(text in ".{0,60}", list in "[-,0-9a-f x]{0,12}") {
        let machine = Machine::new();
        machine.write("proc/interrupts", &text);
        machine.write("proc/irq/126/effective_affinity_list", &list);
        machine.write("sys/class/net/eth1/queues/rx-0/rps_cpus", &list);
        machine.reasons("eth1");
    }
}
