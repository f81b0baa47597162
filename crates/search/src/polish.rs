//! The most promising point to the last digit: Nelder and Mead's method on what the process expects.

use argmin::core::{CostFunction, Error, Executor, State};
use argmin::solver::neldermead::NelderMead;

use crate::gaussian::GaussianProcess;
use crate::space::Space;

/// Size of the first simplex, and when to stop.
const STEP: f64 = 0.05;
const ITERATIONS: u64 = 400;

struct Expected<'a> {
    process: &'a GaussianProcess,
    space: &'a Space,
}

impl CostFunction for Expected<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, point: &Vec<f64>) -> Result<f64, Error> {
        let point = self.space.scaled(&self.space.project(point));
        Ok(-self.process.standardised(&point).mean)
    }
}

/// The point near `start` of which `process`, in scaled coordinates, expects most; never less than of `start`.
pub(crate) fn polish(process: &GaussianProcess, space: &Space, start: &[f64]) -> Vec<f64> {
    let mut vertices = vec![start.to_vec()];
    for at in 0..start.len() {
        // Inwards, where the space ends.
        let vertex = [STEP, -STEP].map(|step| {
            let mut vertex = start.to_vec();
            vertex[at] += step;
            space.project(&vertex)
        });
        let [up, down] = vertex;
        vertices.push(if up == start { down } else { up });
    }
    let cost = Expected { process, space };
    let best = NelderMead::new(vertices)
        .with_sd_tolerance(1e-9)
        .and_then(|solver| {
            Executor::new(cost, solver)
                .configure(|state| state.max_iters(ITERATIONS))
                .run()
        })
        .ok()
        .and_then(|result| result.state().get_best_param().cloned())
        .map(|point| space.project(&point));
    let expected = |point: &[f64]| process.standardised(&space.scaled(point)).mean;
    best.filter(|point| expected(point) > expected(start))
        .unwrap_or_else(|| start.to_vec())
}
