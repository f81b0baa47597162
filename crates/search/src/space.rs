//! Where a search may go: intervals and simplices side by side.

use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::gaussian::distance;

/// Points nearer to each other than this are one, in units of the space.
const SAME: f64 = 1e-3;
/// Points of the grid over a single interval.
const FINE: usize = 1001;
/// Random candidates elsewhere: anywhere ...
const ANYWHERE: usize = 1024;
/// ... and around the best point, at each of these distances.
const AROUND: usize = 256;
const DISTANCES: [f64; 3] = [0.15, 0.05, 0.015];

/// Numbers that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// One number.
    Interval {
        /// The least.
        low: f64,
        /// The most.
        high: f64,
        /// Where nothing would be changed; looked at first.
        start: f64,
    },
    /// So many numbers from 0 on that sum to one; nothing is changed where the last is 1.
    Simplex {
        /// How many.
        corners: usize,
    },
}

/// All blocks of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// In the order of a point's coordinates.
    pub blocks: Vec<Block>,
}

impl Block {
    fn len(&self) -> usize {
        match self {
            Block::Interval { .. } => 1,
            Block::Simplex { corners } => *corners,
        }
    }

    fn freedom(&self) -> usize {
        match self {
            Block::Interval { low, high, .. } => usize::from(high > low),
            Block::Simplex { corners } => corners.saturating_sub(1),
        }
    }

    fn start(&self) -> Vec<f64> {
        match self {
            Block::Interval { start, .. } => vec![*start],
            Block::Simplex { corners } => corner(*corners, corners.saturating_sub(1)),
        }
    }

    fn middle(&self) -> Vec<f64> {
        match self {
            Block::Interval { low, high, .. } => vec![0.5 * (low + high)],
            Block::Simplex { corners } => vec![1.0 / *corners as f64; *corners],
        }
    }

    fn random(&self, chance: &mut Chance) -> Vec<f64> {
        match self {
            Block::Interval { low, high, .. } => vec![low + (high - low) * chance.uniform()],
            // Uniform over the simplex: exponential numbers over their sum.
            Block::Simplex { corners } => {
                let parts = (0..*corners).map(|_| -(1.0 - chance.uniform()).ln()).collect();
                normalised(parts)
            }
        }
    }

    fn project(&self, part: &[f64]) -> Vec<f64> {
        match self {
            Block::Interval { low, high, .. } => vec![part[0].clamp(*low, *high)],
            Block::Simplex { .. } => normalised(part.iter().map(|weight| weight.max(0.0)).collect()),
        }
    }

    /// As many as [`Self::grid`] gives.
    fn grid_len(&self, levels: usize) -> usize {
        match self {
            Block::Interval { low, high, .. } if high > low => levels,
            Block::Interval { .. } => 1,
            Block::Simplex { corners } => combinations(levels + corners - 2, corners - 1),
        }
    }

    /// At most `levels` values a free coordinate, evenly spaced.
    fn grid(&self, levels: usize) -> Vec<Vec<f64>> {
        match self {
            Block::Interval { low, high, .. } if high > low => {
                let at = |level: usize| vec![low + (high - low) * level as f64 / (levels - 1) as f64];
                (0..levels).map(at).collect()
            }
            Block::Interval { start, .. } => vec![vec![*start]],
            Block::Simplex { corners } => lattice(*corners, levels - 1),
        }
    }
}

/// Ways to choose `some` of `all`.
fn combinations(all: usize, some: usize) -> usize {
    let mut count = 1usize;
    for at in 0..some.min(all - some) {
        // Every partial product is a number of ways itself.
        count = match count.checked_mul(all - at) {
            Some(product) => product / (at + 1),
            None => return usize::MAX,
        };
    }
    count
}

fn corner(corners: usize, at: usize) -> Vec<f64> {
    (0..corners)
        .map(|corner| f64::from(u8::from(corner == at)))
        .collect()
}

/// Divided by their sum; all alike if that is zero.
fn normalised(parts: Vec<f64>) -> Vec<f64> {
    let sum: f64 = parts.iter().sum();
    let count = parts.len() as f64;
    let share = |part: f64| if sum > 0.0 { part / sum } else { 1.0 / count };
    parts.into_iter().map(share).collect()
}

/// Every way to write 1 as a sum of `corners` multiples of 1/`steps`.
fn lattice(corners: usize, steps: usize) -> Vec<Vec<f64>> {
    fn extend(corners: usize, steps: usize, left: usize, part: &mut Vec<f64>, all: &mut Vec<Vec<f64>>) {
        if part.len() + 1 == corners {
            part.push(left as f64 / steps as f64);
            all.push(part.clone());
            part.pop();
            return;
        }
        for taken in 0..=left {
            part.push(taken as f64 / steps as f64);
            extend(corners, steps, left - taken, part, all);
            part.pop();
        }
    }
    let mut all = Vec::new();
    extend(corners, steps, steps, &mut Vec::new(), &mut all);
    all
}

impl Space {
    /// Coordinates of a point.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Block::len).sum()
    }

    /// Is there nothing to search?
    pub fn is_empty(&self) -> bool {
        self.freedom() == 0
    }

    /// Numbers that can be chosen freely.
    pub fn freedom(&self) -> usize {
        self.blocks.iter().map(Block::freedom).sum()
    }

    /// The point that changes nothing.
    pub fn start(&self) -> Vec<f64> {
        self.blocks.iter().flat_map(Block::start).collect()
    }

    /// A point's coordinates by block.
    ///
    /// # Panics
    /// If the point has another number of coordinates.
    pub fn parts<'p>(&self, point: &'p [f64]) -> Vec<&'p [f64]> {
        let mut rest = point;
        let part = |block: &Block| {
            let (part, after) = rest.split_at(block.len());
            rest = after;
            part
        };
        self.blocks.iter().map(part).collect()
    }

    /// So many points through `point`, in which this coordinate goes from its least to its most; of a simplex the other coordinates
    /// keep their proportions.
    ///
    /// # Panics
    /// If the space has no such coordinate, or the point another number of them.
    pub fn line(&self, point: &[f64], coordinate: usize, count: usize) -> Vec<Vec<f64>> {
        let (mut block, mut first) = (0, 0);
        while first + self.blocks[block].len() <= coordinate {
            first += self.blocks[block].len();
            block += 1;
        }
        let block = &self.blocks[block];
        let (part, here) = (first..first + block.len(), coordinate - first);
        let at = |share: f64| {
            let mut point = point.to_vec();
            let part = &mut point[part.clone()];
            match block {
                Block::Interval { low, high, .. } => part[0] = low + (high - low) * share,
                Block::Simplex { .. } => {
                    part[here] = 0.0;
                    if part.iter().all(|other| *other == 0.0) {
                        part.fill(1.0);
                        part[here] = 0.0;
                    }
                    let others = normalised(part.to_vec());
                    for (place, other) in part.iter_mut().zip(others) {
                        *place = other * (1.0 - share);
                    }
                    part[here] = share;
                }
            }
            point
        };
        (0..count)
            .map(|number| at(number as f64 / count.saturating_sub(1).max(1) as f64))
            .collect()
    }

    /// In units of the space: intervals of length 1.
    pub(crate) fn scaled(&self, point: &[f64]) -> Vec<f64> {
        let parts = self.blocks.iter().zip(self.parts(point));
        let scaled = |(block, part): (&Block, &[f64])| match block {
            Block::Interval { low, high, .. } if high > low => vec![(part[0] - low) / (high - low)],
            Block::Interval { .. } => vec![0.0],
            Block::Simplex { .. } => part.to_vec(),
        };
        parts.flat_map(scaled).collect()
    }

    /// The nearest point of the space, or one near it.
    pub(crate) fn project(&self, point: &[f64]) -> Vec<f64> {
        let parts = self.blocks.iter().zip(self.parts(point));
        parts.flat_map(|(block, part)| block.project(part)).collect()
    }

    /// Is it as good as one of these?
    pub(crate) fn is_near(&self, point: &[f64], others: &[Vec<f64>]) -> bool {
        let point = self.scaled(point);
        others
            .iter()
            .any(|other| distance(&point, &self.scaled(other)) < SAME)
    }

    /// What is looked at before anything is known: the start, then the ends and the middle of an interval, the middle and the
    /// corners of a simplex; where blocks stand side by side, the middle and random points. At most two thirds of `most`.
    pub(crate) fn initial(&self, most: usize, chance: &mut Chance) -> Vec<Vec<f64>> {
        let mut points = vec![self.start()];
        match self.blocks.as_slice() {
            [Block::Interval { low, high, .. }] => {
                points.extend([vec![*low], vec![*high], vec![0.5 * (low + high)]]);
            }
            [block @ Block::Simplex { corners }] => {
                points.push(block.middle());
                points.extend((0..*corners).map(|at| corner(*corners, at)));
            }
            blocks => {
                points.push(blocks.iter().flat_map(Block::middle).collect());
                for _ in 0..self.freedom().min(most / 2) {
                    points.push(blocks.iter().flat_map(|block| block.random(chance)).collect());
                }
            }
        }
        let mut initial: Vec<Vec<f64>> = Vec::new();
        for point in points {
            if !self.is_near(&point, &initial) {
                initial.push(point);
            }
        }
        // Something is to be left for what was learned.
        initial.truncate((2 * most / 3).max(3).min(most));
        initial
    }

    pub(crate) fn random(&self, chance: &mut Chance) -> Vec<f64> {
        self.blocks
            .iter()
            .flat_map(|block| block.random(chance))
            .collect()
    }

    /// Points of the grid of so many levels; as many as fit a number.
    fn grid_len(&self, levels: usize) -> usize {
        let lens = self.blocks.iter().map(|block| block.grid_len(levels));
        lens.fold(1, usize::saturating_mul)
    }

    /// Has a grid of at most `most` points more than the start?
    pub fn has_grid(&self, most: usize) -> bool {
        self.grid_len(2) <= most
    }

    /// The finest grid of at most `most` points.
    pub(crate) fn grid(&self, most: usize) -> Vec<Vec<f64>> {
        let grid = |levels: usize| {
            self.blocks
                .iter()
                .fold(vec![Vec::new()], |points: Vec<Vec<f64>>, block| {
                    let parts = block.grid(levels);
                    let joined = |point: &Vec<f64>, part: &Vec<f64>| [point.as_slice(), part].concat();
                    points
                        .iter()
                        .flat_map(|point| parts.iter().map(|part| joined(point, part)).collect::<Vec<_>>())
                        .collect()
                })
        };
        let finest = (2..=most)
            .take_while(|levels| self.grid_len(*levels) <= most)
            .last();
        match finest {
            Some(levels) => grid(levels),
            None => vec![self.start()],
        }
    }

    /// Points that may be next.
    pub(crate) fn candidates(&self, best: &[f64], chance: &mut Chance) -> Vec<Vec<f64>> {
        if let [Block::Interval { low, high, .. }] = self.blocks.as_slice() {
            let step = (high - low) / (FINE - 1) as f64;
            return (0..FINE).map(|at| vec![low + step * at as f64]).collect();
        }
        let mut points: Vec<Vec<f64>> = (0..ANYWHERE).map(|_| self.random(chance)).collect();
        for distance in DISTANCES {
            for _ in 0..AROUND {
                let parts = self.blocks.iter().zip(self.parts(best));
                let mut moved = Vec::with_capacity(best.len());
                for (block, part) in parts {
                    let scale = match block {
                        Block::Interval { low, high, .. } => high - low,
                        Block::Simplex { .. } => 1.0,
                    };
                    moved.extend(part.iter().map(|x| x + scale * distance * chance.normal()));
                }
                points.push(self.project(&moved));
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> Space {
        Space {
            blocks: vec![Block::Interval {
                low: 0.5,
                high: 1.0,
                start: 1.0,
            }],
        }
    }

    fn four() -> Space {
        Space {
            blocks: vec![Block::Simplex { corners: 4 }],
        }
    }

    #[test]
    fn the_start_comes_first() {
        let mut chance = Chance::new(1, 0);
        assert_eq!(pair().initial(9, &mut chance), [[1.0], [0.5], [0.75]]);
        let initial = four().initial(9, &mut chance);
        assert_eq!(initial[0], [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(initial[1], [0.25; 4]);
        assert_eq!(initial.len(), 5);
    }

    #[test]
    fn lines_stay_in_the_space() {
        let both = Space {
            blocks: [pair().blocks, four().blocks].concat(),
        };
        let point = [0.7, 0.2, 0.0, 0.6, 0.2];
        assert_eq!(
            both.line(&point, 0, 3),
            [0.5, 0.75, 1.0].map(|x| [&[x], &point[1..]].concat())
        );
        let line = both.line(&point, 3, 3);
        let expected = [
            [0.7, 0.5, 0.0, 0.0, 0.5],
            [0.7, 0.25, 0.0, 0.5, 0.25],
            [0.7, 0.0, 0.0, 1.0, 0.0],
        ];
        for (found, expected) in line.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-12, "{line:?}");
        }
        // From a corner on all others alike.
        let corner = &four().line(&[0.0, 1.0, 0.0, 0.0], 1, 2)[0];
        assert!(
            corner
                .iter()
                .zip([1.0 / 3.0, 0.0, 1.0 / 3.0, 1.0 / 3.0])
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
    }

    #[test]
    fn grids_are_as_fine_as_allowed() {
        assert_eq!(pair().grid(6).len(), 6);
        // 4 corners in steps of a half: 10 points; of a third: 20; of a quarter: 35.
        assert_eq!(four().grid(25).len(), 20);
        let both = Space {
            blocks: [pair().blocks, four().blocks].concat(),
        };
        assert_eq!(both.grid(40).len(), 3 * 10);
        // Far too many blocks for any grid: nothing is built to find that out.
        let many = Space {
            blocks: vec![pair().blocks.remove(0); 60],
        };
        assert_eq!(many.grid(500), [many.start()]);
        assert!(!many.has_grid(500) && both.has_grid(8));
        assert_eq!(
            [combinations(5, 2), combinations(28, 3), combinations(300, 200)],
            [10, 3276, usize::MAX]
        );
    }

    proptest! {
        #[test]
        fn points_stay_in_the_space(seed: u64, moves in prop::collection::vec(-2.0f64..2.0, 5)) {
            let space = Space { blocks: [pair().blocks, four().blocks].concat() };
            let mut chance = Chance::new(seed, 0);
            let random = space.random(&mut chance);
            let moved: Vec<f64> = random.iter().zip(&moves).map(|(x, by)| x + by).collect();
            for point in [random, space.project(&moved)] {
                prop_assert!((0.5..=1.0).contains(&point[0]));
                prop_assert!(point[1..].iter().all(|weight| *weight >= 0.0));
                prop_assert!((point[1..].iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }
}
