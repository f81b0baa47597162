//! What two ordered lists have in common.

use std::cmp::Ordering;

/// Members of both lists, each as often as the list that has fewer of it says.
pub(super) fn overlap<T: Ord>(first: &[T], second: &[T]) -> usize {
    let (mut at, mut with, mut common) = (0, 0, 0);
    while at < first.len() && with < second.len() {
        let order = first[at].cmp(&second[with]);
        common += usize::from(order == Ordering::Equal);
        at += usize::from(order != Ordering::Greater);
        with += usize::from(order != Ordering::Less);
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_counts_as_often_as_both_have_it() {
        assert_eq!(overlap(&[1, 1, 1, 2, 5], &[1, 1, 2, 2, 3, 5]), 4);
        assert_eq!(overlap(&[1, 2], &[0, 3]), 0);
        assert_eq!(overlap::<u32>(&[], &[]), 0);
    }
}
