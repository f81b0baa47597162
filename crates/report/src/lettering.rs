//! How much room a text takes in a drawing, and how to make it take less.
//!
//! No font is at hand, so widths are counted in cells of a monospaced font: 0.6 of its size for most characters,
//! twice that for wide ones (East Asian scripts, emoji).

/// Width of a cell as a part of the font's size.
pub(crate) const CELL: f64 = 0.6;

/// Cells a text takes.
pub(crate) fn cells(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// The text, with its middle left out if it takes more than so many cells: both ends of a name tell it apart.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if cells(text) <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let tail_room = kept / 2;
    let head: String = take(text.chars(), kept - tail_room);
    let tail: String = take(text.chars().rev(), tail_room);
    format!("{head}…{}", tail.chars().rev().collect::<String>())
}

fn take(characters: impl Iterator<Item = char>, most: usize) -> String {
    let mut used = 0;
    characters
        .take_while(|character| {
            used += width(*character);
            used <= most
        })
        .collect()
}

fn width(character: char) -> usize {
    match u32::from(character) {
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends_and_never_grow() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("evaluate-everything", 9), "eval…hing");
        assert_eq!(shorten("模型模型模型", 7), "模…型");
        for most in 0..30 {
            for text in ["evaluate-everything", "模型模型模型", "aé模🦀b", ""] {
                assert!(cells(&shorten(text, most)) <= most.max(1), "{text} in {most}");
            }
        }
    }
}
