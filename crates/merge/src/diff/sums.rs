//! What two stretches of numbers have in common, added in `f64`.

use crate::kernel::vectorised;

/// Partial sums: they let the compiler use whole vectors, and make the result the same on every machine.
const LANES: usize = 16;

/// Sums over the elements of two tensors. Differences that are no finite numbers are counted and left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    /// Σ a².
    pub(crate) a: f64,
    /// Σ b².
    pub(crate) b: f64,
    /// Σ a·b.
    pub(crate) product: f64,
    /// Σ (a−b)².
    pub(crate) difference: f64,
    /// Elements whose values are not the same.
    pub(crate) differing: u64,
    /// Elements at least one of which is no finite number.
    pub(crate) not_finite: u64,
    /// The largest |a−b|, and the first element where it is.
    pub(crate) largest: Option<Largest>,
}

/// The largest difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Largest {
    pub(crate) at: usize,
    pub(crate) a: f32,
    pub(crate) b: f32,
}

impl Largest {
    pub(crate) fn difference(self) -> f64 {
        (f64::from(self.a) - f64::from(self.b)).abs()
    }
}

impl Sums {
    /// Of two stretches that begin at element `start`.
    pub(crate) fn of(start: usize, a: &[f32], b: &[f32]) -> Sums {
        let (mut sums, largest) = vectorised(
            #[inline(always)]
            || add_up(a, b),
        );
        let is_finite = (sums.a + sums.b + sums.difference).is_finite();
        if !is_finite {
            return Sums::careful(start, a, b);
        }
        if largest > 0.0 {
            let pairs = a.iter().zip(b).enumerate();
            let mut found = pairs.map(|(index, (a, b))| Largest {
                at: start + index,
                a: *a,
                b: *b,
            });
            sums.largest = found.find(|pair| pair.difference() == largest);
        }
        sums
    }

    /// Of a stretch that is the same in both.
    pub(crate) fn of_equal(a: &[f32]) -> Sums {
        let norm = vectorised(
            #[inline(always)]
            || square(a),
        );
        if !norm.is_finite() {
            return Sums::careful(0, a, a);
        }
        Sums {
            a: norm,
            b: norm,
            product: norm,
            ..Sums::default()
        }
    }

    /// The same, element by element, without those that are no finite numbers.
    fn careful(start: usize, a: &[f32], b: &[f32]) -> Sums {
        let mut sums = Sums::default();
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            sums.differing += u64::from(a.to_bits() != b.to_bits());
            if !(a.is_finite() && b.is_finite()) {
                sums.not_finite += 1;
                continue;
            }
            let (x, y) = (f64::from(*a), f64::from(*b));
            sums.a += x * x;
            sums.b += y * y;
            sums.product += x * y;
            sums.difference += (x - y) * (x - y);
            sums.consider(Largest {
                at: start + index,
                a: *a,
                b: *b,
            });
        }
        sums
    }

    /// Adds what comes after.
    pub(crate) fn add(&mut self, other: &Sums) {
        self.a += other.a;
        self.b += other.b;
        self.product += other.product;
        self.difference += other.difference;
        self.differing += other.differing;
        self.not_finite += other.not_finite;
        if let Some(largest) = other.largest {
            self.consider(largest);
        }
    }

    fn consider(&mut self, new: Largest) {
        let most = self.largest.map_or(0.0, Largest::difference);
        if new.difference() > most {
            self.largest = Some(new);
        }
    }
}

/// The sums, and the largest difference.
#[inline(always)]
fn add_up(a: &[f32], b: &[f32]) -> (Sums, f64) {
    let mut sums = [[0.0f64; LANES]; 4];
    let mut most = [0.0f64; LANES];
    let mut differing = [0u32; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut rest = [[0.0f32; LANES]; 2];
    rest[0][..a_rest.len()].copy_from_slice(a_rest);
    rest[1][..b_rest.len()].copy_from_slice(b_rest);
    let last = std::iter::once((&rest[0], &rest[1]));
    for (a, b) in a_lanes.iter().zip(b_lanes).chain(last) {
        for lane in 0..LANES {
            let (x, y) = (f64::from(a[lane]), f64::from(b[lane]));
            let difference = x - y;
            sums[0][lane] += x * x;
            sums[1][lane] += y * y;
            sums[2][lane] += x * y;
            sums[3][lane] += difference * difference;
            let size = difference.abs();
            most[lane] = if size > most[lane] { size } else { most[lane] };
            differing[lane] += u32::from(a[lane].to_bits() != b[lane].to_bits());
        }
    }
    let [a, b, product, difference] = sums.map(|lanes| lanes.iter().sum());
    let sums = Sums {
        a,
        b,
        product,
        difference,
        differing: differing.iter().map(|count| u64::from(*count)).sum(),
        ..Sums::default()
    };
    (sums, most.iter().fold(0.0, |most, size| most.max(*size)))
}

#[inline(always)]
fn square(values: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (lanes, rest) = values.as_chunks::<LANES>();
    for values in lanes {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*value) * f64::from(*value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lanes_add_up_to_what_elements_do(
            pairs in prop::collection::vec((-3.0f32..3.0, prop::sample::select(vec![0.0f32, 0.5, -2.0])), 0..200), start in 0usize..9,
        ) {
            let a: Vec<f32> = pairs.iter().map(|(a, _)| *a).collect();
            let b: Vec<f32> = pairs.iter().map(|(a, change)| a + change).collect();
            let (fast, slow) = (Sums::of(start, &a, &b), Sums::careful(start, &a, &b));
            prop_assert_eq!((fast.differing, fast.largest), (slow.differing, slow.largest));
            for (fast, slow) in [(fast.a, slow.a), (fast.b, slow.b), (fast.product, slow.product), (fast.difference, slow.difference)] {
                prop_assert!((fast - slow).abs() <= 1e-12 * (1.0 + slow.abs()));
            }
            let equal = Sums::of_equal(&a);
            prop_assert!((equal.a - slow.a).abs() <= 1e-12 * (1.0 + slow.a) && equal.difference == 0.0);
        }
    }

    #[test]
    fn what_is_no_number_is_counted_and_left_out() {
        let sums = Sums::of(
            5,
            &[1.0, f32::NAN, f32::INFINITY, 2.0],
            &[1.0, f32::NAN, 3.0, 4.0],
        );
        assert_eq!((sums.not_finite, sums.differing, sums.difference), (2, 2, 4.0));
        assert_eq!(sums.largest.map(|largest| largest.at), Some(8));
        assert_eq!(Sums::of(0, &[], &[]), Sums::default());
    }
}
