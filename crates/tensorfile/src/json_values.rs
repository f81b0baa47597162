//! How many values a JSON text has, counted before it becomes a tree.
//!
//! A value of a tree takes dozens of bytes where the text needs two, so a file within its limit of length could still
//! fill the memory.

/// The number of values, keys not counted; of a text that is not JSON, some number no greater than its length and one.
pub fn count_json_values(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_strings_are_not_looked_into() {
        assert_eq!(count_json_values(b"7"), 1);
        assert_eq!(count_json_values(br#"{"a,[": [1, 2], "b\",": ",,"}"#), 5);
        assert_eq!(count_json_values(b""), 1);
    }
}
