//! Every fused kernel against the same operation composed of burn's own: values and gradients.

#![expect(clippy::unwrap_used)]

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use tributary_model::kernel::{self, Geometry, Rotation, composed};

fn numbers(count: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
        })
        .collect()
}

fn matrix(rows: usize, columns: usize, salt: u64) -> Tensor<2> {
    let device = Device::flex().autodiff();
    Tensor::from_data(
        TensorData::new(numbers(rows * columns, salt), [rows, columns]),
        &device,
    )
    .require_grad()
}

fn vector(len: usize, salt: u64) -> Tensor<1> {
    let device = Device::flex().autodiff();
    Tensor::from_data(TensorData::new(numbers(len, salt), [len]), &device).require_grad()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn assert_close(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1e-3f32, |size, value| size.max(value.abs()));
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= 2e-5 * size,
            "{what}[{at}]: {got} != {expected} (size {size})"
        );
    }
}

/// Runs both forms, weighs the output with fixed numbers, and compares outputs and gradients.
fn compare(
    what: &str,
    inputs: &[Tensor<2>],
    fused: impl Fn(&[Tensor<2>]) -> Tensor<2>,
    oracle: impl Fn(&[Tensor<2>]) -> Tensor<2>,
) {
    let run = |form: &dyn Fn(&[Tensor<2>]) -> Tensor<2>| {
        let out = form(inputs);
        let [rows, columns] = out.dims();
        let weights = Tensor::<2>::from_data(
            TensorData::new(numbers(rows * columns, 99), [rows, columns]),
            &out.device(),
        );
        let grads = (out.clone() * weights).sum().backward();
        let gradients: Vec<Vec<f32>> = inputs
            .iter()
            .map(|input| values(input.grad(&grads).unwrap()))
            .collect();
        (values(out), gradients)
    };
    let (got, got_gradients) = run(&fused);
    let (expected, expected_gradients) = run(&oracle);
    assert_close(what, &got, &expected);
    for (index, (got, expected)) in got_gradients.iter().zip(&expected_gradients).enumerate() {
        assert_close(&format!("{what}: gradient of input {index}"), got, expected);
    }
}

/// Rows of packed documents of differing lengths, padding at the end.
fn geometry(rows: usize, len: usize, heads: usize, kv_heads: usize, d: usize) -> Arc<Geometry> {
    let (mut first, mut positions) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let cut = len / 3 + row * 2;
        for token in 0..len {
            let start = if token < cut { 0 } else { cut };
            first.push(start as u32);
            positions.push((token - start) as u32);
        }
    }
    let angle = |at: usize| (at / (d / 2)) as f32 * 100f32.powf(-((at % (d / 2)) as f32) / (d / 2) as f32);
    let rotation = Rotation {
        cos: (0..len * d / 2).map(|at| angle(at).cos()).collect(),
        sin: (0..len * d / 2).map(|at| angle(at).sin()).collect(),
    };
    let scale = (d as f32).powf(-0.5);
    let rotation = Arc::new(rotation);
    Arc::new(Geometry {
        rows,
        len,
        keys: len,
        heads,
        kv_heads,
        head_dim: d,
        first,
        positions,
        rotation,
        scale,
        tables: Default::default(),
    })
}

#[test]
fn linear() {
    compare(
        "linear",
        &[matrix(70, 48, 1), matrix(96, 48, 2)],
        |x| kernel::linear(x[0].clone(), x[1].clone()),
        |x| composed::linear(x[0].clone(), x[1].clone()),
    );
}

#[test]
fn embedding_adds_the_gradients_of_repeated_tokens() {
    let tokens: Arc<[u32]> = Arc::from([3, 1, 3, 3, 0, 6]);
    compare(
        "embedding",
        &[matrix(7, 20, 3)],
        |x| kernel::embedding(x[0].clone(), &tokens),
        |x| composed::embedding(x[0].clone(), &tokens),
    );
}

#[test]
fn swiglu() {
    compare(
        "swiglu",
        &[matrix(33, 40, 4) * 4.0, matrix(33, 40, 5)].map(|x| x.detach().require_grad()),
        |x| kernel::swiglu(x[0].clone(), x[1].clone()),
        |x| composed::swiglu(x[0].clone(), x[1].clone()),
    );
}

#[test]
fn rms_norm() {
    let weight = vector(52, 7);
    compare(
        "rms_norm",
        &[matrix(77, 52, 6)],
        |x| kernel::rms_norm(x[0].clone(), weight.clone(), 1e-5),
        |x| composed::rms_norm(x[0].clone(), weight.clone(), 1e-5),
    );
    let x = matrix(77, 52, 6);
    let weigh = |y: Tensor<2>| (y * matrix(77, 52, 8).detach()).sum().backward();
    let got = weigh(kernel::rms_norm(x.clone(), weight.clone(), 1e-5));
    let expected = weigh(composed::rms_norm(x, weight.clone(), 1e-5));
    assert_close(
        "weight",
        &values(weight.grad(&got).unwrap()),
        &values(weight.grad(&expected).unwrap()),
    );
}

#[test]
fn attention_over_packed_documents() {
    for (rows, len, heads, kv_heads, d) in [(2, 37, 6, 2, 16), (1, 200, 4, 4, 32), (3, 3, 2, 1, 8)] {
        let geometry = geometry(rows, len, heads, kv_heads, d);
        let inputs = [
            matrix(rows * len, heads * d, 9),
            matrix(rows * len, kv_heads * d, 10),
            matrix(rows * len, kv_heads * d, 11),
        ];
        compare(
            "attention",
            &inputs,
            |x| kernel::attention(x[0].clone(), x[1].clone(), x[2].clone(), &geometry),
            |x| composed::attention(x[0].clone(), x[1].clone(), x[2].clone(), &geometry),
        );
    }
}

#[test]
fn loss_and_its_gradients() {
    let (tokens, width, vocabulary) = (50, 24, 90);
    let targets: Arc<[i64]> = (0..tokens)
        .map(|token| {
            if token % 3 == 1 {
                -100
            } else {
                (token * 31 % vocabulary) as i64
            }
        })
        .collect();
    let (hidden, head) = (matrix(tokens, width, 12), matrix(vocabulary, width, 13));
    let fused = kernel::loss(hidden.clone(), head.clone(), &targets);
    let oracle = composed::nll(hidden.clone(), head.clone(), &targets).sum();
    assert_close("sum", &values(fused.clone()), &values(oracle.clone()));
    let (fused, oracle) = ((fused * 0.37).backward(), (oracle * 0.37).backward());
    for input in [&hidden, &head] {
        assert_close(
            "gradient",
            &values(input.grad(&fused).unwrap()),
            &values(input.grad(&oracle).unwrap()),
        );
    }
    let nll = kernel::nll(hidden.clone(), head.clone(), &targets);
    assert_close(
        "nll",
        &values(nll),
        &values(composed::nll(hidden, head, &targets)),
    );
}

#[test]
fn states_are_summed_up_as_composed() {
    let (rows, width) = (70, 24);
    let mut numbers = numbers(rows * width, 5);
    // A row of zeros has a norm and no direction.
    numbers[..width].fill(0.0);
    let x = Tensor::<2>::from_data(TensorData::new(numbers, [rows, width]), &Device::flex());
    let counts: Vec<bool> = (0..rows).map(|row| row % 5 != 3).collect();
    let ours = kernel::state_sums(&x, &counts).unwrap();
    let composed = composed::state_sums(x, &counts).unwrap();
    assert_eq!((ours.rows, ours.largest), (56, composed.largest));
    assert_eq!(composed.rows, 56);
    let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    assert_close(
        "directions",
        &single(&ours.directions),
        &single(&composed.directions),
    );
    assert_close("norms", &single(&[ours.norms]), &single(&[composed.norms]));
}
