use std::sync::Arc;

use candle_core::{D, Var};

use super::attention::Attention;
use super::*;
use crate::rng::Rng;

fn random(dims: &[usize], stream: u64) -> Var {
    let mut rng = Rng::new(11, stream);
    let values = (0..dims.iter().product()).map(|_| rng.normal()).collect();
    Var::from_tensor(&tensor(values, dims).unwrap()).unwrap()
}

/// The two must agree in value and in the gradient of a random projection of it, for every variable.
fn check(vars: &[&Var], fused: &Tensor, basic: &Tensor) {
    let near = |a: &Tensor, b: &Tensor, what: &str| {
        let (a, b) = (values(a).unwrap(), values(b).unwrap());
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{what}: {a} for {b}");
        }
    };
    near(fused, basic, "value");
    let along = random(fused.dims(), 99);
    let gradient = |y: &Tensor| {
        (y * along.as_tensor())
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap()
    };
    let (fused, basic) = (gradient(fused), gradient(basic));
    for (i, var) in vars.iter().enumerate() {
        near(
            fused.get(var).unwrap(),
            basic.get(var).unwrap(),
            &format!("gradient {i}"),
        );
    }
}

#[test]
fn exp_is_accurate() {
    for i in -870..=870 {
        let x = i as f32 / 10.0;
        let exact = f64::from(x).exp();
        assert!((f64::from(exp(x)) / exact - 1.0).abs() < 1e-6, "{x}");
    }
}

#[test]
fn norm_equals_basic_operations() {
    let (x, w) = (random(&[5, 32], 0), random(&[32], 1));
    let scale = (x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap() + 1e-5)
        .unwrap()
        .sqrt()
        .unwrap();
    let basic = x.broadcast_div(&scale).unwrap().broadcast_mul(&w).unwrap();
    check(&[&x, &w], &norm(&x, &w, 1e-5).unwrap(), &basic);
}

#[test]
fn gated_equals_basic_operations() {
    let (gate, up) = (random(&[5, 32], 0), random(&[5, 32], 1));
    check(
        &[&gate, &up],
        &gated(&gate, &up).unwrap(),
        &(gate.silu().unwrap() * up.as_tensor()).unwrap(),
    );
}

#[test]
fn losses_equal_basic_operations() {
    let (x, teacher) = (random(&[6, 40], 0), random(&[6, 40], 1));
    let log = x
        .broadcast_sub(&x.log_sum_exp(D::Minus1).unwrap().unsqueeze(1).unwrap())
        .unwrap();
    let targets = [1u32, 0, 39, 7, 7, 20];
    let picked = log
        .gather(
            &Tensor::new(&targets, &Device::Cpu).unwrap().unsqueeze(1).unwrap(),
            1,
        )
        .unwrap();
    check(
        &[&x],
        &cross_entropy(&x, &targets).unwrap(),
        &picked.mean_all().unwrap().neg().unwrap(),
    );

    let p = teacher
        .broadcast_sub(&teacher.log_sum_exp(D::Minus1).unwrap().unsqueeze(1).unwrap())
        .unwrap();
    let basic = ((log * p.exp().unwrap()).unwrap().sum_all().unwrap() * (-1.0 / 6.0)).unwrap();
    check(&[&x], &soft_cross_entropy(&x, &teacher).unwrap(), &basic);
}

#[test]
fn attention_equals_basic_operations() {
    let (rows, n, heads, kv_heads, head) = (2, 5, 4, 2, 8);
    let (q, k) = (
        random(&[rows * n, heads * head], 0),
        random(&[rows * n, kv_heads * head], 1),
    );
    let v = random(&[rows * n, kv_heads * head], 2);
    let rotation: Arc<[(f32, f32)]> = (0..n * head / 2)
        .map(|at| ((at as f32 * 0.3).cos(), (at as f32 * 0.3).sin()))
        .collect();
    let fused = Attention {
        n,
        heads,
        kv_heads,
        head,
        rotation: rotation.clone(),
    };
    let fused = fused.apply(&q, &k, &v).unwrap();

    let table = |sine: bool| {
        let values = rotation
            .iter()
            .map(|(cos, sin)| if sine { *sin } else { *cos })
            .collect();
        tensor(values, &[n, head / 2]).unwrap()
    };
    let split = |x: &Tensor, count: usize, rotated: bool| {
        let x = x
            .reshape((rows, n, count, head))
            .unwrap()
            .transpose(1, 2)
            .unwrap()
            .contiguous()
            .unwrap();
        if !rotated {
            return x;
        }
        let pairs = x.reshape((rows, count, n, head / 2, 2)).unwrap();
        let part = |i| pairs.narrow(4, i, 1).unwrap().squeeze(4).unwrap();
        let times = |x: &Tensor, sine| x.broadcast_mul(&table(sine)).unwrap();
        let a = (times(&part(0), false) - times(&part(1), true)).unwrap();
        let b = (times(&part(0), true) + times(&part(1), false)).unwrap();
        Tensor::stack(&[a, b], 4)
            .unwrap()
            .reshape((rows, count, n, head))
            .unwrap()
    };
    let repeat = |x: Tensor| {
        let x = x
            .unsqueeze(2)
            .unwrap()
            .broadcast_as((rows, kv_heads, heads / kv_heads, n, head))
            .unwrap();
        x.contiguous().unwrap().reshape((rows, heads, n, head)).unwrap()
    };
    let (q4, k4, v4) = (
        split(&q, heads, true),
        repeat(split(&k, kv_heads, true)),
        repeat(split(&v, kv_heads, false)),
    );
    let mask: Vec<f32> = (0..n * n)
        .map(|at| if at % n > at / n { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    let scores = (q4.matmul(&k4.t().unwrap()).unwrap() / (head as f64).sqrt()).unwrap();
    let scores = scores
        .broadcast_add(&tensor(mask, &[n, n]).unwrap())
        .unwrap()
        .exp()
        .unwrap();
    let weights = scores
        .broadcast_div(&scores.sum_keepdim(D::Minus1).unwrap())
        .unwrap();
    let basic = weights
        .matmul(&v4)
        .unwrap()
        .transpose(1, 2)
        .unwrap()
        .reshape((rows * n, heads * head))
        .unwrap();
    check(&[&q, &k, &v], &fused, &basic);
}
