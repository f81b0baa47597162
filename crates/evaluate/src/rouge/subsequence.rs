//! The longest common subsequence, 64 words at a time.
//!
//! Hyyrö, "Bit-parallel LCS-length computation revisited" (AWOCA 2004), after Allison and Dix (1986): a row of the table of lengths
//! grows by 0 or 1 from word to word of the pattern, so that a bit a word holds it (here 0 where it grows), and one addition gives
//! the next row.

/// Words of a block.
const BLOCK: usize = u64::BITS as usize;
/// No word has this number.
const NO_WORD: u32 = u32::MAX;
/// The golden ratio of 2³², for Fibonacci hashing.
const GOLDEN: u32 = 0x9E37_79B1;

/// Length of the longest common subsequence. Memory grows with the sum of the lengths, time with their product over 64.
pub(super) fn common_length(first: &[u32], second: &[u32]) -> usize {
    let (short, long) = if first.len() < second.len() {
        (first, second)
    } else {
        (second, first)
    };
    let pattern = Pattern::new(short);
    // A word that the pattern lacks leaves a row as it is.
    let text: Vec<usize> = long
        .iter()
        .map(|word| pattern.numbers.of(*word))
        .filter(|number| *number < pattern.numbers.count)
        .collect();
    pattern.sweep(&text, |_, _, _| ())
}

/// A sequence of words to compare with others.
pub(super) struct Pattern {
    numbers: Numbers,
    /// The sequence in numbers of its own.
    words: Vec<usize>,
}

impl Pattern {
    pub(super) fn new(words: &[u32]) -> Pattern {
        let mut numbers = Numbers::new(words.len());
        let words = words.iter().map(|word| numbers.add(*word)).collect();
        Pattern { numbers, words }
    }

    /// Gives `take` the places, in the pattern and in the text, of the members of a longest common subsequence, from the end. Walking
    /// back through the table, a word goes as soon as it fits; else the pattern's last word is left out unless that makes the
    /// subsequence shorter, else the text's. Memory and time grow with the product of the lengths over 64.
    pub(super) fn common(&self, text: &[u32], mut take: impl FnMut(usize, usize)) {
        let text: Vec<usize> = text.iter().map(|word| self.numbers.of(*word)).collect();
        if text.iter().all(|number| *number == self.numbers.count) {
            return;
        }
        let mut rows = vec![0; text.len() * self.words.len().div_ceil(BLOCK)];
        self.sweep(&text, |block, with, row| rows[block * text.len() + with] = row);
        let (mut at, mut with) = (self.words.len(), text.len());
        while at > 0 && with > 0 {
            let (last, row) = (at - 1, with - 1);
            if self.words[last] == text[row] {
                take(last, row);
                (at, with) = (last, row);
            } else if (rows[last / BLOCK * text.len() + row] >> (last % BLOCK)) & 1 == 0 {
                with = row;
            } else {
                at = last;
            }
        }
    }

    /// Length of the longest common subsequence with a text in numbers of this pattern. `seen` hears of each row: block of the
    /// pattern, place in the text, bits.
    fn sweep(&self, text: &[usize], mut seen: impl FnMut(usize, usize, u64)) -> usize {
        // The last number is that of words the pattern lacks.
        let mut places = vec![0_u64; self.numbers.count + 1];
        // What the addition carries from block to block.
        let mut carries = vec![false; text.len()];
        let mut length = 0;
        for (block, words) in self.words.chunks(BLOCK).enumerate() {
            for (bit, number) in words.iter().enumerate() {
                places[*number] |= 1 << bit;
            }
            let mut row = u64::MAX;
            for (with, (number, carry)) in text.iter().zip(&mut carries).enumerate() {
                let fits = row & places[*number];
                let (sum, over) = row.overflowing_add(fits);
                let (sum, over_again) = sum.overflowing_add(u64::from(*carry));
                *carry = over || over_again;
                row = sum | (row - fits);
                seen(block, with, row);
            }
            length += row.count_zeros() as usize;
            for number in words {
                places[*number] = 0;
            }
        }
        length
    }
}

/// Numbers words from 0: a hash table with room for twice as many.
struct Numbers {
    slots: Vec<(u32, u32)>,
    shift: u32,
    count: usize,
}

impl Numbers {
    /// For this many words at most.
    fn new(words: usize) -> Numbers {
        let slots = (2 * words).next_power_of_two().max(2);
        Numbers {
            slots: vec![(NO_WORD, 0); slots],
            shift: u32::BITS - slots.trailing_zeros(),
            count: 0,
        }
    }

    /// The slot of a word, or the free one where it belongs.
    fn slot(&self, word: u32) -> usize {
        let mut at = (word.wrapping_mul(GOLDEN) >> self.shift) as usize;
        while self.slots[at].0 != word && self.slots[at].0 != NO_WORD {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }

    /// Number of a word, a new one if it has none.
    fn add(&mut self, word: u32) -> usize {
        let at = self.slot(word);
        if self.slots[at].0 == NO_WORD {
            self.slots[at] = (word, self.count as u32);
            self.count += 1;
        }
        self.slots[at].1 as usize
    }

    /// Number of a word; how many there are, if it has none.
    fn of(&self, word: u32) -> usize {
        match self.slots[self.slot(word)] {
            (NO_WORD, _) => self.count,
            (_, number) => number as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of lengths, cell by cell.
    fn table(first: &[u32], second: &[u32]) -> Vec<Vec<usize>> {
        let mut table = vec![vec![0; second.len() + 1]; first.len() + 1];
        for (at, word) in first.iter().enumerate() {
            for (with, other) in second.iter().enumerate() {
                table[at + 1][with + 1] = if word == other {
                    table[at][with] + 1
                } else {
                    table[at][with + 1].max(table[at + 1][with])
                };
            }
        }
        table
    }

    /// Walks back through the table.
    fn walk(first: &[u32], second: &[u32]) -> Vec<(usize, usize)> {
        let table = table(first, second);
        let (mut at, mut with) = (first.len(), second.len());
        let mut places = Vec::new();
        while at > 0 && with > 0 {
            if first[at - 1] == second[with - 1] {
                (at, with) = (at - 1, with - 1);
                places.push((at, with));
            } else if table[at][with - 1] > table[at - 1][with] {
                with -= 1;
            } else {
                at -= 1;
            }
        }
        places
    }

    #[test]
    fn bits_and_table_agree() {
        let mut state = 7_u64;
        let mut below = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        for round in 0..400 {
            // Lengths about the borders of blocks too.
            let lengths = [0, 1, 5, 20, 63, 64, 65, 127, 128, 129, 200];
            let words = [2, 4, 30, 300][round % 4];
            let mut sequence = || -> Vec<u32> {
                let length = lengths[below(lengths.len() as u64) as usize];
                (0..length).map(|_| below(words) as u32).collect()
            };
            let (first, second) = (sequence(), sequence());
            let length = table(&first, &second)[first.len()][second.len()];
            assert_eq!(common_length(&first, &second), length);
            assert_eq!(common_length(&second, &first), length);
            let mut places = Vec::new();
            Pattern::new(&first).common(&second, |at, with| places.push((at, with)));
            assert_eq!(places, walk(&first, &second));
        }
    }

    #[test]
    fn a_sequence_is_its_own_longest() {
        let words: Vec<u32> = (0..1000).map(|at| at * at % 331).collect();
        assert_eq!(common_length(&words, &words), 1000);
        let turned: Vec<u32> = (0..1000).rev().collect();
        assert_eq!(common_length(&turned, &(0..1000).collect::<Vec<u32>>()), 1);
        assert_eq!(common_length(&words, &[]), 0);
    }
}
