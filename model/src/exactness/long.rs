//! Equality far into a context, and after another library has changed the float control word.

use super::{grouped, kernels, options, row_hash, tiny, tokens};
use crate::testing::Tiny;
use crate::{Kernel, Kv, Options, Predict};

/// Positions of the longest context that outer serves by default.
const LONG: usize = 4096;

/// The last rows of a full context: in one prefill, in steps of odd sizes, by every kernel that is quick enough and by 1 to 4
/// threads.
#[test]
fn a_full_context_is_the_same_by_every_way() {
    let config = Tiny::GOLDEN[1];
    let all = tokens(LONG, config.vocab);
    let (before, last) = all.split_at(LONG - 3);
    for kv in Kv::ALL {
        let long = |kernel, threads| Options {
            kv,
            kv_tokens: LONG,
            max_context: LONG,
            ..options(kernel, threads)
        };
        let mut expected = grouped(&mut tiny(&config, &long(Kernel::Portable, 1)), &all, &[61, 1, 7]);
        let expected = expected.split_off(LONG - 3);
        for kernel in kernels().filter(|&kernel| kernel != Kernel::Reference) {
            for threads in 1..=4 {
                let mut model = tiny(&config, &long(kernel, threads));
                let slot = model.open().unwrap();
                model.prefill(slot, before).unwrap();
                let mut got = Vec::new();
                for &token in last {
                    model
                        .step(&[(slot, token)], &mut |_, logits| got.push(row_hash(logits)))
                        .unwrap();
                }
                assert_eq!(got, expected, "{kv:?} {} {threads}", kernel.name());
                assert!(model.step(&[(slot, 0)], &mut |_, _| {}).is_err());
            }
        }
    }
}

/// A caller whose library flushes subnormals gets the same bits: the model's threads have a control word of their own.
#[cfg(target_arch = "x86_64")]
#[test]
#[allow(unsafe_code)]
fn a_callers_control_word_changes_nothing() {
    let config = Tiny::GOLDEN[0];
    let tokens = tokens(20, config.vocab);
    for kernel in kernels() {
        for threads in [1, 2] {
            let run = || grouped(&mut tiny(&config, &options(kernel, threads)), &tokens, &[3, 1]);
            let expected = run();
            let got = std::thread::scope(|scope| {
                let flushed = scope.spawn(|| {
                    // FTZ, DAZ, and rounding towards zero.
                    let word: u32 = 0x1f80 | 1 << 15 | 1 << 6 | 3 << 13;
                    // SAFETY: a valid word with all exceptions masked; this thread ends with the closure.
                    unsafe {
                        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, readonly))
                    };
                    run()
                });
                flushed.join().unwrap()
            });
            assert_eq!(got, expected, "{} {threads}", kernel.name());
        }
    }
}
