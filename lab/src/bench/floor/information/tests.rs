use super::*;

fn logits(p: &[f64]) -> Vec<f32> {
    p.iter().map(|p| p.ln() as f32).collect()
}

fn information(p: &[f64], sampling: Sampling, q: &[f64]) -> Information {
    Room::default().information(&logits(p), &sampling, &logits(q))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn entropies_by_hand() {
    let found = information(&[0.5, 0.25, 0.25], Sampling::at(1.0), &[0.25, 0.25, 0.5]);
    assert!(close(found.h_p, 1.5) && close(found.h_pq, 1.75), "{found:?}");
    // Ratios 2, 1, 0.5 with q 0.25, 0.25, 0.5: w is 0.25 on (1, 2], 0.5 on (0.5, 1], 1 below.
    assert!(close(found.d_cs, 0.25 * 2.0 + 0.5 * 0.5), "{found:?}");
}

/// Two equal distributions share all: the floor is zero, whatever their entropy.
#[test]
fn a_perfect_imitator_leaves_nothing_to_say() {
    let p = [0.1, 0.2, 0.3, 0.4];
    let found = information(&p, Sampling::at(1.0), &p);
    assert!(
        close(found.d_cs, 0.0) && close(found.h_p, found.h_pq),
        "{found:?}"
    );
}

/// D_CS is at least KL, and at most KL + log2(KL + 1) + 1 (Goc and Flamich 2024).
#[test]
fn the_floors_are_in_order() {
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) * 8.0
    };
    for size in [2, 3, 50, 3000] {
        for temperature in [0.3, 1.0, 2.0] {
            let mut row = || (0..size).map(|_| random() as f32).collect::<Vec<f32>>();
            let (p, q) = (row(), row());
            let found = Room::default().information(&p, &Sampling::at(temperature), &q);
            let kl = found.h_pq - found.h_p;
            assert!(kl >= 0.0 && found.d_cs >= kl - 1e-6, "{found:?}");
            assert!(found.d_cs <= kl + (kl + 1.0).log2() + 1.0 + 1e-6, "{found:?}");
        }
    }
}

#[test]
fn greedy_decoding_leaves_one_token() {
    let found = information(&[0.4, 0.6], Sampling::GREEDY, &[0.75, 0.25]);
    assert!(
        found.h_p == 0.0 && close(found.h_pq, 2.0) && close(found.d_cs, 2.0),
        "{found:?}"
    );
    // So does a filter for one, at any temperature.
    for sampling in [
        Sampling {
            top_k: 1,
            ..Sampling::at(1.0)
        },
        Sampling {
            top_p: 0.5,
            ..Sampling::at(1.0)
        },
    ] {
        let found = information(&[0.4, 0.6], sampling, &[0.75, 0.25]);
        assert!(
            close(found.h_p, 0.0) && close(found.h_pq, 2.0) && close(found.d_cs, 2.0),
            "{found:?}"
        );
    }
}

/// 0.4 + 0.3 is not yet 0.8: the third token stays, the fourth goes.
#[test]
fn top_p_keeps_the_token_that_completes_it() {
    let sampling = Sampling {
        top_p: 0.8,
        ..Sampling::at(1.0)
    };
    let found = information(&[0.1, 0.2, 0.3, 0.4], sampling, &[0.25; 4]);
    let left = [0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9];
    let entropy: f64 = left.iter().map(|p: &f64| -p * p.log2()).sum();
    assert!(close(found.h_p, entropy) && close(found.h_pq, 2.0), "{found:?}");
}

#[test]
fn floats_sort_as_numbers_and_come_back() {
    let values = [f32::MAX, 3.5, 1.0, 1e-30, 0.0, -1e-30, -2.0, f32::MIN];
    assert!(values.map(descending).is_sorted());
    for value in values {
        assert_eq!(ascending(!descending(value)), value);
    }
}
