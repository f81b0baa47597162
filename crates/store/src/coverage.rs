//! Which bytes of a piece have arrived, for writers by position.

/// Which bytes of a piece have arrived: sorted, disjoint, joined ranges.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    ranges: Vec<(u64, u64)>,
}

impl Coverage {
    /// Adds `start..end`; `false` if a byte of it had arrived before.
    pub(crate) fn add(&mut self, start: u64, end: u64) -> bool {
        if start >= end {
            return true;
        }
        let at = self.ranges.partition_point(|range| range.1 <= start);
        if self.ranges.get(at).is_some_and(|next| next.0 < end) {
            return false;
        }
        let joins_left = at > 0 && self.ranges[at - 1].1 == start;
        let joins_right = self.ranges.get(at).is_some_and(|next| next.0 == end);
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = end,
            (false, true) => self.ranges[at].0 = start,
            (false, false) => self.ranges.insert(at, (start, end)),
        }
        true
    }

    /// Has everything in `0..len` arrived, and nothing else?
    pub(crate) fn is(&self, len: u64) -> bool {
        self.ranges == [(0, len)]
    }

    /// The first byte below `len` that has not arrived.
    pub(crate) fn gap(&self, len: u64) -> Option<u64> {
        let reached = match self.ranges.first() {
            Some(&(0, end)) => end,
            _ => 0,
        };
        (reached < len).then_some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_joins_ranges_and_refuses_overlap() {
        let mut coverage = Coverage::default();
        assert!(coverage.add(10, 20));
        assert!(coverage.add(0, 5));
        assert!(!coverage.add(4, 6));
        assert!(!coverage.add(0, 30));
        assert!(!coverage.add(19, 21));
        assert_eq!(coverage.gap(20), Some(5));
        assert!(coverage.add(5, 10));
        assert!(coverage.is(20));
        assert_eq!(coverage.gap(20), None);
        assert_eq!(coverage.gap(21), Some(20));
    }
}
