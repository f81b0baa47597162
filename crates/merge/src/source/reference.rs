//! What the text that names a model says: a place, or a place and an adapter's place (`base+adapter`).

use std::path::Path;

/// Splits `base+adapter` at its last `+`. A text that is a path on this machine as it stands has no adapter, and so
/// has one with nothing on either side of the `+`. In addresses with a scheme a `+` that belongs to a name must be
/// in the adapter's part or be written out of the way, because nobody is asked what exists there.
pub fn split_adapter(reference: &str) -> (&str, Option<&str>) {
    let Some((base, adapter)) = reference.rsplit_once('+') else {
        return (reference, None);
    };
    let path = reference.strip_prefix("file://").unwrap_or(reference);
    if base.is_empty() || adapter.is_empty() || Path::new(path).exists() {
        return (reference, None);
    }
    (base, Some(adapter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_plus_parts_base_and_adapter() {
        assert_eq!(split_adapter("ckpt/base"), ("ckpt/base", None));
        assert_eq!(
            split_adapter("s3://b/base+ckpt/lora"),
            ("s3://b/base", Some("ckpt/lora"))
        );
        assert_eq!(split_adapter("a+b+c"), ("a+b", Some("c")));
        assert_eq!(split_adapter("+c"), ("+c", None));
        assert_eq!(split_adapter("a+"), ("a+", None));
    }

    #[test]
    fn a_path_with_a_plus_is_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one+two");
        std::fs::create_dir(&path).unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(split_adapter(text), (text, None));
        let address = format!("file://{text}");
        assert_eq!(split_adapter(&address), (address.as_str(), None));
        let with = format!("{text}+lora");
        assert_eq!(split_adapter(&with), (text, Some("lora")));
    }
}
