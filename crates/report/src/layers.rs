//! Places for the boxes of a directed graph without cycles: in layers, with few crossings and short lines.
//!
//! The method of Sugiyama, Tagawa and Toda (1981): a line over several layers is broken by *bends*, the order within
//! layers follows barycentres, and heights are a least-squares fit to the neighbours that keeps order and distance.
//! One deviation: lines with the same source share their bends, so a much-read step has one trunk with branches.
//! Pure arithmetic in a fixed order: the same graph has the same places.

use std::collections::BTreeMap;

/// Free room between two boxes.
const GAP: f64 = 20.0;
/// Free room beside a bend.
const BEND_GAP: f64 = 9.0;
const SWEEPS: usize = 16;
const FITS: usize = 24;

/// A line from one box to another in a later layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    /// Index of the box it leaves.
    pub(crate) from: usize,
    /// Index of the box it reaches.
    pub(crate) to: usize,
    /// Lines of different classes share no bends.
    pub(crate) class: bool,
}

/// A box or a bend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spot {
    /// Its layer.
    pub(crate) layer: usize,
    /// Height of its middle.
    pub(crate) middle: f64,
    /// Is it a bend?
    pub(crate) is_bend: bool,
}

/// A part of a line between neighbouring layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Segment {
    /// Spot on the left.
    pub(crate) from: usize,
    /// Spot on the right.
    pub(crate) to: usize,
    /// [`Link::class`].
    pub(crate) class: bool,
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    /// The boxes, in the order given, then the bends.
    pub(crate) spots: Vec<Spot>,
    /// The lines, in parts.
    pub(crate) segments: Vec<Segment>,
    /// Height of the whole.
    pub(crate) height: f64,
}

/// Layers by the longest way from a box without predecessors. Links must go from lower to higher indices.
pub(crate) fn depths(count: usize, links: &[Link]) -> Vec<usize> {
    let mut depths = vec![0; count];
    let mut links = links.to_vec();
    links.sort_unstable();
    for link in links {
        depths[link.to] = depths[link.to].max(depths[link.from] + 1);
    }
    depths
}

/// Lays out boxes of these heights in these layers. Links must go to later layers.
pub(crate) fn lay_out(heights: &[f64], layers: &[usize], links: &[Link]) -> Layout {
    let mut spots: Vec<Spot> = layers
        .iter()
        .map(|layer| Spot {
            layer: *layer,
            middle: 0.0,
            is_bend: false,
        })
        .collect();
    let segments = segments(&mut spots, links);
    let heights: Vec<f64> = (0..spots.len())
        .map(|spot| heights.get(spot).copied().unwrap_or(0.0))
        .collect();
    let order = order(&spots, &segments);
    let height = fit(&mut spots, &segments, &order, &heights);
    Layout {
        spots,
        segments,
        height,
    }
}

/// Breaks links into segments, with bends where they pass a layer.
fn segments(spots: &mut Vec<Spot>, links: &[Link]) -> Vec<Segment> {
    let mut bends: BTreeMap<(usize, bool, usize), usize> = BTreeMap::new();
    let mut segments = Vec::new();
    for link in links {
        let mut from = link.from;
        for layer in spots[link.from].layer + 1..spots[link.to].layer {
            let next = *bends.entry((link.from, link.class, layer)).or_insert_with(|| {
                spots.push(Spot {
                    layer,
                    middle: 0.0,
                    is_bend: true,
                });
                segments.push(Segment {
                    from,
                    to: spots.len() - 1,
                    class: link.class,
                });
                spots.len() - 1
            });
            from = next;
        }
        segments.push(Segment {
            from,
            to: link.to,
            class: link.class,
        });
    }
    segments
}

/// The neighbours of every spot on one side.
fn neighbours(count: usize, segments: &[Segment], on_the_left: bool) -> Vec<Vec<usize>> {
    let mut lists = vec![Vec::new(); count];
    for segment in segments {
        let (spot, other) = if on_the_left {
            (segment.to, segment.from)
        } else {
            (segment.from, segment.to)
        };
        lists[spot].push(other);
    }
    lists
}

/// The spots of every layer from top to bottom.
fn order(spots: &[Spot], segments: &[Segment]) -> Vec<Vec<usize>> {
    let count = spots.iter().map(|spot| spot.layer + 1).max().unwrap_or(0);
    let mut order = vec![Vec::new(); count];
    for (index, spot) in spots.iter().enumerate() {
        order[spot.layer].push(index);
    }
    let left = neighbours(spots.len(), segments, true);
    let right = neighbours(spots.len(), segments, false);
    let (mut best, mut fewest) = (order.clone(), usize::MAX);
    for sweep in 0..SWEEPS {
        let rightwards = sweep % 2 == 0;
        let lists = if rightwards { &left } else { &right };
        let mut ranks = ranks(&order, spots.len());
        for step in 0..count {
            let layer = if rightwards { step } else { count - 1 - step };
            let centre = |spot: &usize| {
                let list = &lists[*spot];
                match list.len() {
                    0 => ranks[*spot],
                    n => list.iter().map(|other| ranks[*other]).sum::<f64>() / n as f64,
                }
            };
            let mut keyed: Vec<(f64, usize)> =
                order[layer].iter().map(|spot| (centre(spot), *spot)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            order[layer] = keyed.into_iter().map(|(_, spot)| spot).collect();
            for (rank, spot) in order[layer].iter().enumerate() {
                ranks[*spot] = relative(rank, order[layer].len());
            }
        }
        let crossings = crossings(&order, segments, spots);
        if crossings < fewest {
            (best, fewest) = (order.clone(), crossings);
        }
        if fewest == 0 {
            break;
        }
    }
    best
}

/// A rank as a part of its layer, so that layers of different sizes compare.
fn relative(rank: usize, count: usize) -> f64 {
    (rank as f64 + 0.5) / count as f64
}

fn ranks(order: &[Vec<usize>], count: usize) -> Vec<f64> {
    let mut ranks = vec![0.0; count];
    for layer in order {
        for (rank, spot) in layer.iter().enumerate() {
            ranks[*spot] = relative(rank, layer.len());
        }
    }
    ranks
}

/// How often segments cross, by counting inversions.
fn crossings(order: &[Vec<usize>], segments: &[Segment], spots: &[Spot]) -> usize {
    let mut rank = vec![0; spots.len()];
    for layer in order {
        for (place, spot) in layer.iter().enumerate() {
            rank[*spot] = place;
        }
    }
    let mut total = 0;
    for (layer, right) in order.iter().enumerate().skip(1) {
        let mut ends: Vec<(usize, usize)> = segments
            .iter()
            .filter(|segment| spots[segment.to].layer == layer)
            .map(|segment| (rank[segment.from], rank[segment.to]))
            .collect();
        ends.sort_unstable();
        // A Fenwick tree of the right ends seen so far.
        let mut tree = vec![0usize; right.len() + 1];
        for (seen, (_, end)) in ends.iter().enumerate() {
            let mut not_above = 0;
            let mut at = end + 1;
            while at > 0 {
                not_above += tree[at];
                at &= at - 1;
            }
            total += seen - not_above;
            let mut at = end + 1;
            while at < tree.len() {
                tree[at] += 1;
                at += at & at.wrapping_neg();
            }
        }
    }
    total
}

/// Gives every spot its height; gives the height of the whole.
fn fit(spots: &mut [Spot], segments: &[Segment], order: &[Vec<usize>], heights: &[f64]) -> f64 {
    let left = neighbours(spots.len(), segments, true);
    let right = neighbours(spots.len(), segments, false);
    let mut middles = vec![0.0; spots.len()];
    // Sum of the distances a layer must keep, from its first spot on.
    let offsets: Vec<Vec<f64>> = order
        .iter()
        .map(|layer| {
            let mut offset = 0.0;
            let mut offsets = vec![0.0; layer.len()];
            for place in 1..layer.len() {
                let (above, below) = (layer[place - 1], layer[place]);
                let gap = if spots[above].is_bend || spots[below].is_bend {
                    BEND_GAP
                } else {
                    GAP
                };
                offset += heights[above] / 2.0 + heights[below] / 2.0 + gap;
                offsets[place] = offset;
            }
            offsets
        })
        .collect();
    for (layer, offsets) in order.iter().zip(&offsets) {
        let half = offsets.last().copied().unwrap_or(0.0) / 2.0;
        for (spot, offset) in layer.iter().zip(offsets) {
            middles[*spot] = offset - half;
        }
    }
    for pass in 0..FITS {
        let rightwards = pass % 2 == 0;
        let is_last = pass + 2 >= FITS;
        for step in 0..order.len() {
            let layer = if rightwards { step } else { order.len() - 1 - step };
            let wish = |spot: &usize| {
                let (near, far) = if rightwards {
                    (&left, &right)
                } else {
                    (&right, &left)
                };
                let others = near[*spot].iter();
                // Both sides have a say at last, else a lone end would follow one side only.
                let others: Vec<usize> = match is_last {
                    true => others.chain(&far[*spot]).copied().collect(),
                    false => others.copied().collect(),
                };
                match others.len() {
                    0 => middles[*spot],
                    n => others.iter().map(|other| middles[*other]).sum::<f64>() / n as f64,
                }
            };
            let spots_here = &order[layer];
            let wishes: Vec<(f64, f64)> = spots_here
                .iter()
                .zip(&offsets[layer])
                .map(|(spot, offset)| (wish(spot) - offset, if spots[*spot].is_bend { 4.0 } else { 1.0 }))
                .collect();
            for ((spot, offset), fitted) in spots_here.iter().zip(&offsets[layer]).zip(ascending(&wishes)) {
                middles[*spot] = fitted + offset;
            }
        }
    }
    let top = |spot: usize| middles[spot] - heights[spot] / 2.0;
    let least = (0..spots.len()).map(top).fold(f64::INFINITY, f64::min);
    let mut height: f64 = 0.0;
    for (index, spot) in spots.iter_mut().enumerate() {
        spot.middle = middles[index] - least;
        height = height.max(spot.middle + heights[index] / 2.0);
    }
    height
}

/// The ascending values nearest to (value, weight) pairs in least squares: pool adjacent violators.
fn ascending(wishes: &[(f64, f64)]) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (value, weight) in wishes {
        pools.push((*value, *weight, 1));
        while let [.., above, below] = pools.as_slice() {
            if above.0 <= below.0 {
                break;
            }
            let weight = above.1 + below.1;
            let pooled = (
                (above.0 * above.1 + below.0 * below.1) / weight,
                weight,
                above.2 + below.2,
            );
            pools.truncate(pools.len() - 2);
            pools.push(pooled);
        }
    }
    pools
        .into_iter()
        .flat_map(|(value, _, count)| std::iter::repeat_n(value, count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(pairs: &[(usize, usize)]) -> Vec<Link> {
        pairs
            .iter()
            .map(|(from, to)| Link {
                from: *from,
                to: *to,
                class: false,
            })
            .collect()
    }

    fn laid_out(count: usize, pairs: &[(usize, usize)]) -> Layout {
        let links = links(pairs);
        lay_out(&vec![40.0; count], &depths(count, &links), &links)
    }

    #[test]
    fn layers_follow_the_longest_way() {
        assert_eq!(
            depths(5, &links(&[(0, 1), (1, 2), (0, 2), (0, 4)])),
            [0, 1, 2, 0, 1]
        );
    }

    #[test]
    fn nothing_overlaps_and_a_chain_is_straight() {
        // A base, three branches, three merges of all branches and the base, one evaluation of all.
        let mut pairs = vec![(0, 1), (0, 2), (0, 3)];
        for merge in 4..7 {
            pairs.extend([(0, merge), (1, merge), (2, merge), (3, merge)]);
        }
        pairs.extend((0..7).map(|model| (model, 7)));
        let layout = laid_out(8, &pairs);
        for layer in 0..4 {
            let mut rows: Vec<(f64, f64)> = layout
                .spots
                .iter()
                .filter(|spot| spot.layer == layer)
                .map(|spot| (spot.middle, if spot.is_bend { 0.0 } else { 20.0 }))
                .collect();
            rows.sort_by(|a, b| a.0.total_cmp(&b.0));
            for pair in rows.windows(2) {
                assert!(
                    pair[1].0 - pair[1].1 >= pair[0].0 + pair[0].1 + BEND_GAP - 1e-6,
                    "{rows:?}"
                );
            }
        }
        // The base reaches three merges and the evaluation over shared bends: one in either layer it passes.
        let bends = layout.spots.iter().filter(|spot| spot.is_bend).count();
        assert_eq!(bends, 2 + 3);
        let chain = laid_out(3, &[(0, 1), (1, 2)]);
        assert!(chain.spots.iter().all(|spot| (spot.middle - 20.0).abs() < 1e-6));
        assert_eq!(chain.height, 40.0);
    }

    #[test]
    fn crossings_are_counted_and_removed() {
        let pairs = [(0, 5), (1, 4), (2, 3)];
        let spot = |layer| Spot {
            layer,
            middle: 0.0,
            is_bend: false,
        };
        let mut spots = [0, 0, 0, 1, 1, 1].map(spot).to_vec();
        let segments = segments(&mut spots, &links(&pairs));
        let plain = vec![vec![0, 1, 2], vec![3, 4, 5]];
        assert_eq!(crossings(&plain, &segments, &spots), 3);
        assert_eq!(crossings(&order(&spots, &segments), &segments, &spots), 0);
    }

    #[test]
    fn the_fit_keeps_the_order() {
        let wishes = [(3.0, 1.0), (1.0, 1.0), (2.0, 2.0), (9.0, 1.0)];
        assert_eq!(ascending(&wishes), [2.0, 2.0, 2.0, 9.0]);
        assert_eq!(ascending(&[]), [0.0; 0]);
    }
}
