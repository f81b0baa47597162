//! Tensors cut into blocks, numbered in the order of the output.

/// Part of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Index of the tensor.
    pub(crate) tensor: usize,
    /// First element.
    pub(crate) start: usize,
    /// Number of elements, at least 1.
    pub(crate) len: usize,
}

/// All blocks of a list of tensors.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    /// Elements of each tensor.
    elements: Vec<usize>,
    /// Number of the first block of each tensor, and the number of all blocks.
    first: Vec<usize>,
    size: usize,
}

impl Blocks {
    /// Cuts tensors of these sizes into blocks of `size` elements; the last block of a tensor may be shorter.
    pub(crate) fn new(elements: Vec<usize>, size: usize) -> Blocks {
        let size = size.max(1);
        let mut first = Vec::with_capacity(elements.len() + 1);
        let mut count = 0;
        for elements in &elements {
            first.push(count);
            count += elements.div_ceil(size);
        }
        first.push(count);
        Blocks {
            elements,
            first,
            size,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.first.last().copied().unwrap_or(0)
    }

    /// Block number `index`.
    pub(crate) fn get(&self, index: usize) -> Option<Block> {
        if index >= self.len() {
            return None;
        }
        // Tensors without elements have no block: the last tensor that starts at or before `index` owns it.
        let tensor = self.first.partition_point(|first| *first <= index) - 1;
        let start = (index - self.first[tensor]) * self.size;
        Some(Block {
            tensor,
            start,
            len: self.size.min(self.elements[tensor] - start),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn empty_tensors_have_no_blocks() {
        let blocks = Blocks::new(vec![0, 5, 0, 0, 4, 0], 4);
        let all: Vec<_> = (0..blocks.len()).filter_map(|index| blocks.get(index)).collect();
        assert_eq!(
            all,
            [
                Block {
                    tensor: 1,
                    start: 0,
                    len: 4
                },
                Block {
                    tensor: 1,
                    start: 4,
                    len: 1
                },
                Block {
                    tensor: 4,
                    start: 0,
                    len: 4
                }
            ]
        );
        assert_eq!(blocks.get(3), None);
        assert_eq!(Blocks::new(vec![], 4).get(0), None);
    }

    proptest! {
        #[test]
        fn blocks_cover_every_element_once(elements in proptest::collection::vec(0usize..50, 0..20), size in 1usize..20) {
            let blocks = Blocks::new(elements.clone(), size);
            let mut covered = vec![0; elements.len()];
            for index in 0..blocks.len() {
                let block = blocks.get(index).unwrap();
                prop_assert_eq!(covered[block.tensor], block.start);
                prop_assert!(block.len >= 1 && block.len <= size);
                covered[block.tensor] += block.len;
            }
            prop_assert_eq!(covered, elements);
        }
    }
}
