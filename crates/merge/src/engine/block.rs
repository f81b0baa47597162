//! A tensor cut into blocks, and blocks into chunks.

use super::RUN;
use crate::kernel::CHUNK;

/// How one tensor is cut. Blocks are what a worker claims, runs are what sums are added by, chunks are what a kernel is
/// given at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    elements: usize,
    /// Elements of a chunk: whole units.
    pub(crate) chunk: usize,
    /// Elements of a run: whole chunks.
    pub(crate) run: usize,
    /// Elements of a block: whole runs.
    block: usize,
}

impl Cut {
    /// Cuts a tensor whose elements belong together in units of `unit` into blocks of at most `block` elements, or of one
    /// run if that is longer.
    pub(crate) fn new(elements: usize, unit: usize, block: usize) -> Cut {
        let unit = unit.clamp(1, elements.max(1));
        let chunk = unit * (CHUNK / unit).max(1);
        let run = RUN.next_multiple_of(chunk);
        Cut {
            elements,
            chunk,
            run,
            block: (block / run).max(1) * run,
        }
    }

    /// Number of blocks: none for a tensor without elements.
    pub(crate) fn blocks(&self) -> usize {
        self.elements.div_ceil(self.block)
    }

    /// Number of runs.
    pub(crate) fn runs(&self) -> usize {
        self.elements.div_ceil(self.run)
    }

    /// Elements of block number `index`.
    pub(crate) fn block(&self, index: usize) -> std::ops::Range<usize> {
        let start = (index * self.block).min(self.elements);
        start..(start + self.block).min(self.elements)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_cover_every_element_once_in_whole_units(
            elements in 0usize..400_000, unit in 1usize..5000, block in 1usize..300_000,
        ) {
            let cut = Cut::new(elements, unit, block);
            let unit = unit.clamp(1, elements.max(1));
            prop_assert_eq!(cut.chunk % unit, 0);
            prop_assert_eq!(cut.run % cut.chunk, 0);
            prop_assert!(cut.run >= RUN);
            let mut end = 0;
            for index in 0..cut.blocks() {
                let range = cut.block(index);
                prop_assert_eq!(range.start, end);
                prop_assert_eq!(range.start % cut.run, 0);
                prop_assert!(!range.is_empty() && range.len() <= block.max(cut.run));
                end = range.end;
            }
            prop_assert_eq!(end, elements);
        }
    }
}
