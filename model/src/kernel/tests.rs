use super::matrix::{LANES, Matrix};
use super::*;
use crate::kernel::matrix::Record;
use crate::kernel::quant::{Block, Kind};
use weir_exact::{Error, Kernel};

/// Xorshift, for codes.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

/// What to fill blocks with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fill {
    Random,
    Lowest,
    Highest,
    ZeroScales,
    Subnormal,
}

const FILLS: [Fill; 5] = [
    Fill::Random,
    Fill::Lowest,
    Fill::Highest,
    Fill::ZeroScales,
    Fill::Subnormal,
];

fn block(kind: Kind, fill: Fill, random: &mut Random) -> Block {
    let top = (1u32 << kind.shape().bits) - 1;
    let signed = kind.shape().signed;
    let mut b = Block::ZERO;
    for code in &mut b.codes[..kind.shape().block] {
        *code = match fill {
            Fill::Lowest => 0,
            Fill::Highest => top as u8,
            _ => (random.next() & top) as u8,
        };
    }
    if kind.shape().block == 256 {
        for s in 0..256 / kind.shape().sub {
            let sub = match (fill, signed) {
                (Fill::Lowest, true) => 0x80,
                (Fill::Lowest, false) => 0,
                (Fill::Highest, true) => 127,
                (Fill::Highest, false) => 63,
                (_, true) => random.next() as u8,
                (_, false) => random.next() as u8 & 63,
            };
            b.subs[s] = sub;
            if kind.shape().mins {
                b.submins[s] = if fill == Fill::Highest {
                    63
                } else {
                    random.next() as u8 & 63
                };
            }
        }
    }
    let scale = |random: &mut Random| match fill {
        Fill::ZeroScales => 0.0,
        Fill::Subnormal => f32::from_bits(random.next() & 0xffff),
        Fill::Highest | Fill::Lowest => 65504.0,
        Fill::Random => (random.next() % 2000) as f32 / 1000.0 - 1.0,
    };
    b.d = scale(random);
    if kind.shape().mins {
        b.m = scale(random);
    }
    b
}

fn matrix(kind: Kind, fill: Fill, rows: usize, cols: usize) -> Matrix {
    let seed = 12345 + rows as u32 * 31 + cols as u32;
    let fill_one = |row: usize, b: usize| {
        let mut random = Random(seed ^ (row as u32) << 16 ^ (b as u32 + 1) << 3 | 1);
        (0..4).for_each(|_| _ = random.next());
        Some(block(kind, fill, &mut random))
    };
    Matrix::pack(kind, rows, cols, fill_one).unwrap()
}

fn inputs(fill: Fill, rows: usize, cols: usize) -> Vec<f32> {
    let mut random = Random(99);
    let value = |i: usize, random: &mut Random| match fill {
        Fill::Random => (random.next() as i32) as f32 / 1e8,
        Fill::Lowest => -3.0,
        Fill::Highest => 1.0 - (i % 2) as f32 * 2.0,
        Fill::ZeroScales => {
            if (i / 32).is_multiple_of(2) {
                0.0
            } else {
                1.5
            }
        }
        Fill::Subnormal => f32::from_bits(random.next() & 0x00ff_ffff),
    };
    (0..rows * cols).map(|i| value(i, &mut random)).collect()
}

fn product(kernel: Kernel, threads: usize, matrix: &Matrix, x: &[f32]) -> Vec<u32> {
    let mut activations = Activations::default();
    activations
        .quantize(kernel, x, matrix.cols, matrix.kind.shape().block)
        .unwrap();
    let mut out = vec![f32::NAN; x.len() / matrix.cols * matrix.rows];
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let product = Product {
        matrix,
        x: &activations,
        out: &mut out,
    };
    pool.install(|| multiply(kernel, threads, [product])).unwrap();
    out.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_kernel_equals_the_reference() {
    for kernel in Kernel::ALL.into_iter().filter(|k| !k.supported()) {
        crate::testing::skip(&format!("this CPU lacks kernel {}", kernel.name()));
    }
    for kind in Kind::ALL {
        let block = kind.shape().block;
        for (outputs, blocks, rows) in [(1, 1, 1), (16, 3, 1), (17, 2, 3), (40, 1, 4), (33, 3, 9)] {
            for fill in FILLS {
                for x_fill in FILLS {
                    let m = matrix(kind, fill, outputs, blocks * block);
                    let x = inputs(x_fill, rows, m.cols);
                    let expected = product(Kernel::Reference, 1, &m, &x);
                    for kernel in Kernel::ALL.into_iter().filter(|k| k.supported()) {
                        for threads in [1, 3] {
                            let got = product(kernel, threads, &m, &x);
                            let what = (kernel, threads, kind, fill, x_fill, outputs, blocks, rows);
                            assert_eq!(got, expected, "{what:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn sizes_that_nobody_chose() {
    let mut random = Random(2024);
    for kind in Kind::ALL {
        for _ in 0..5 {
            let mut below = |most: u32| 1 + (random.next() % most) as usize;
            let (outputs, blocks, rows) = (
                below(70),
                below(if kind.shape().block == 32 { 40 } else { 5 }),
                below(30),
            );
            let m = matrix(kind, Fill::Random, outputs, blocks * kind.shape().block);
            let x = inputs(Fill::Random, rows, m.cols);
            let expected = product(Kernel::Reference, 1, &m, &x);
            for kernel in Kernel::ALL.into_iter().filter(|k| k.supported()) {
                for threads in 1..=4 {
                    let got = product(kernel, threads, &m, &x);
                    assert_eq!(
                        got, expected,
                        "{kernel:?} {threads} {kind:?} {outputs} {blocks} {rows}"
                    );
                }
            }
        }
    }
}

#[test]
fn records_give_back_what_was_put_in() {
    for kind in Kind::ALL {
        let m = matrix(kind, Fill::Random, 21, 2 * kind.shape().block);
        let record = Record::of(kind);
        for row in 0..21 {
            for b in 0..2 {
                let mut random = Random((12345 + 21 * 31 + m.cols as u32) ^ row << 16 ^ (b + 1) << 3 | 1);
                (0..4).for_each(|_| _ = random.next());
                let group = &m.data[row as usize / LANES * m.group_len()..];
                let got = record.get(
                    &group[b as usize * record.len..][..record.len],
                    row as usize % LANES,
                );
                assert_eq!(got, block(kind, Fill::Random, &mut random), "{kind:?} {row} {b}");
            }
        }
    }
}

#[test]
fn activations_are_rounded_to_even_within_127() {
    let mut x = vec![0.0f32; 32];
    x[..8].copy_from_slice(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0, 126.6]);
    let mut a = Activations::default();
    a.quantize(Kernel::Portable, &x, 32, 32).unwrap();
    let tile = a.tile(0);
    assert_eq!(
        (tile.quad(0, 0), tile.quad(1, 0)),
        ([127, 0, 2, 2], [0, -2, -127, 127])
    );
    assert_eq!((tile.scales, tile.sums), (&[1.0][..], &[129, 0][..]));
}

#[test]
fn what_is_not_finite_is_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = vec![1.0; 512];
        x[300] = bad;
        for kernel in Kernel::ALL.into_iter().filter(|k| k.supported()) {
            let result = Activations::default().quantize(kernel, &x, 512, 256);
            assert!(matches!(result, Err(Error::NotFinite)));
        }
    }
}
