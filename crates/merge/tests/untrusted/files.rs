//! Model directories made to do harm, opened from a disk as merging opens them. Each is refused with an error that
//! names the file and what is wrong with it, and, where there is one, the tensor or the byte.
//!
//! More of safetensors headers stands beside their reader, in the crate `tensorfile`.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tributary_store::MANIFEST;
use tributary_testkit::allocation::watched;
use tributary_testkit::fuzz::Outcome;

use super::changed::{
    CONFIG, INDEX, MODEL, case, index, one, open, open_only, opened, put, refused, replaced, sharded, sparse,
};
use super::place::{outcome, safetensors};

#[test]
fn headers() {
    let header = |json: String, data: usize| move |at: &Path| put(at, MODEL, safetensors(json, data));
    refused(vec![
        case(
            "2^63 bytes of header",
            |at| sparse(at, MODEL, (1u64 << 63).to_le_bytes(), 1 << 38),
            &[MODEL, "at byte 0", "9223372036854775808"],
        ),
        case(
            "2^64 - 1 bytes of header",
            |at| put(at, MODEL, [0xFF; 8]),
            &[MODEL, "at byte 0"],
        ),
        case(
            "a header of zeros",
            |at| sparse(at, MODEL, 90_000_000u64.to_le_bytes(), 1 << 38),
            &[MODEL, "at byte 8"],
        ),
        case(
            "an end past the file",
            header(one("w", "F32", "[2]", "[0,8]"), 4),
            &["tensor \"w\"", MODEL, "at byte", "truncated"],
        ),
        case(
            "offsets that wrap",
            header(one("w", "U8", "[8]", "[18446744073709551612,4]"), 8),
            &["tensor \"w\"", MODEL, "18446744073709551612"],
        ),
        case(
            "a product that overflows",
            header(one("w", "F32", "[4294967296,4294967296]", "[0,0]"), 0),
            &["tensor \"w\"", "more bytes than 64 bits count"],
        ),
        case(
            "no number",
            header(one("w", "F32", "[NaN]", "[0,4]"), 4),
            &[MODEL, "\"w\"", "at byte"],
        ),
        case(
            "an infinite number",
            header(one("w", "F32", "[1]", "[0,1e999]"), 4),
            &[MODEL, "\"w\"", "at byte"],
        ),
        case(
            "an unknown type",
            header(one("w", "F33", "[1]", "[0,4]"), 4),
            &["tensor \"w\"", "unknown element type \"F33\""],
        ),
        case(
            "a name with an escape sequence",
            header(one("\\u001b[2J", "F32", "[1]", "[0,4]"), 4),
            &[MODEL, "control characters"],
        ),
        case(
            "a byte order mark",
            header("\u{feff}{}".to_string(), 0),
            &[MODEL, "at byte 8"],
        ),
        case(
            "a carriage return first",
            header("\r\n{}".to_string(), 0),
            &[MODEL, "at byte 8"],
        ),
    ]);
}

#[test]
fn indexes() {
    let names = |shard: &str| {
        let text = index(shard);
        move |at: &Path| sharded(at, text)
    };
    const NO_NAME: &[&str] = &[INDEX, "not a plain file name"];
    refused(vec![
        case("up and out", names("../../x"), NO_NAME),
        case("an absolute path", names("/etc/passwd"), NO_NAME),
        case("down and up", names("a/../model-1.safetensors"), NO_NAME),
        case("a drive", names("C:\\x"), NO_NAME),
        case("percent signs", names("%2e%2e"), NO_NAME),
        case("a device", names("NUL"), NO_NAME),
        case("a NUL", names("a\0b"), NO_NAME),
        case("nothing", names(""), NO_NAME),
        case("a long name", names(&"x".repeat(4096)), NO_NAME),
        case(
            "a shard that is not there",
            names("model-3.safetensors"),
            &["model-3.safetensors"],
        ),
        case(
            "a shard that is no tensor file",
            names(CONFIG),
            &[CONFIG, "malformed"],
        ),
        case("the index as a shard", names(INDEX), &[INDEX, "malformed"]),
        case(
            "the wrong shard",
            names("model-1.safetensors"),
            &[INDEX, "tensor \"b\"", "model-1.safetensors"],
        ),
        case(
            "a tensor left out",
            |at| {
                sharded(
                    at,
                    json!({"weight_map": {"a": "model-2.safetensors"}}).to_string(),
                )
            },
            &[INDEX, "tensor \"b\""],
        ),
        case("no index", |at| sharded(at, "{}"), &[INDEX, "weight_map"]),
        case("a list", |at| sharded(at, "[]"), &[INDEX, "at byte"]),
        case(
            "twice the same",
            |at| {
                sharded(
                    at,
                    r#"{"weight_map":{"a":"model-1.safetensors","a":"model-2.safetensors"}}"#,
                )
            },
            &[INDEX, "\"a\" stands twice"],
        ),
        case(
            "brackets",
            |at| sharded(at, "[".repeat(1 << 20)),
            &[INDEX, "at byte"],
        ),
        case(
            "brackets in what is not looked at",
            |at| sharded(at, format!("{{\"a\":{}", "[".repeat(1 << 20))),
            &[INDEX, "at byte"],
        ),
        case(
            "bytes that are no text",
            |at| sharded(at, b"{\"weight_map\":{\"\xFF\":\"\"}}"),
            &[INDEX, "at byte 16", "UTF-8"],
        ),
        case(
            "a byte order mark",
            |at| sharded(at, "\u{feff}{}"),
            &[INDEX, "at byte 0"],
        ),
        case(
            "a sparse file",
            |at| {
                sharded(at, "");
                sparse(at, INDEX, "", 1 << 38)
            },
            &[INDEX, "limit"],
        ),
    ]);
}

/// Links out of a directory are followed, because Hugging Face's cache is made of them; what they lead to is not
/// trusted more than the rest.
#[test]
fn links_and_what_is_no_file() {
    let loops = |path: &Path| symlink(path.file_name().unwrap(), path).unwrap();
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    refused(vec![
        case(
            "a model that links to itself",
            move |at| replaced(at, MODEL, loops),
            &[MODEL],
        ),
        case(
            "a model that is a folder",
            |at| replaced(at, MODEL, |path| std::fs::create_dir(path).unwrap()),
            &[MODEL],
        ),
        case(
            "a model without end",
            |at| replaced(at, MODEL, |path| symlink("/dev/zero", path).unwrap()),
            &[MODEL],
        ),
        case(
            "a model that waits",
            move |at| replaced(at, MODEL, pipe),
            &[MODEL],
        ),
        case(
            "a shard that links to itself",
            move |at| {
                sharded(at, index("model-2.safetensors"));
                replaced(at, "model-2.safetensors", loops)
            },
            &["model-2.safetensors"],
        ),
        case(
            "a shard that links to nothing",
            |at| {
                sharded(at, index("model-2.safetensors"));
                replaced(at, "model-2.safetensors", |path| symlink("gone", path).unwrap())
            },
            &["model-2.safetensors"],
        ),
        case(
            "a configuration that links to itself",
            move |at| replaced(at, CONFIG, loops),
            &[CONFIG],
        ),
        case(
            "a configuration that waits",
            move |at| replaced(at, CONFIG, pipe),
            &[CONFIG],
        ),
        case(
            "a manifest without end",
            |at| {
                put(at, MANIFEST, "");
                replaced(at, MANIFEST, |path| {
                    symlink(path.with_file_name(MANIFEST), path).unwrap()
                })
            },
            &[MANIFEST],
        ),
    ]);
}

#[test]
fn configurations() {
    let text = |bytes: Vec<u8>| move |at: &Path| put(at, CONFIG, bytes);
    refused(vec![
        case(
            "none",
            |at| std::fs::remove_file(at.join(CONFIG)).unwrap(),
            &[CONFIG],
        ),
        case("an empty file", text(vec![]), &[CONFIG]),
        case("a list", text(b"[]".to_vec()), &[CONFIG, "not an object"]),
        case(
            "300 MB",
            |at| sparse(at, CONFIG, "{", 300 << 20),
            &[CONFIG, "limit"],
        ),
        case(
            "a million zeros",
            text(format!("{{\"a\":[{}0]}}", "0,".repeat(1 << 20)).into_bytes()),
            &[CONFIG, "values"],
        ),
        case("brackets", text("[".repeat(100_000).into_bytes()), &[CONFIG]),
        case(
            "no number",
            text(b"{\"rope_theta\": NaN}".to_vec()),
            &[CONFIG, "line 1 column 16"],
        ),
        case(
            "an infinite number",
            text(b"{\"rope_theta\": Infinity}".to_vec()),
            &[CONFIG, "line 1 column 16"],
        ),
        case(
            "a number out of range",
            text(b"{\"rope_theta\": 1e999}".to_vec()),
            &[CONFIG, "out of range"],
        ),
        case(
            "a byte order mark",
            text("\u{feff}{}".as_bytes().to_vec()),
            &[CONFIG, "line 1 column 1"],
        ),
        case(
            "bytes that are no text",
            text(b"{\"a\": \"\xC0\x80\"}".to_vec()),
            &[CONFIG, "line 1"],
        ),
        case(
            "half a pair",
            text(b"{\"a\": \"\\ud800\"}".to_vec()),
            &[CONFIG, "line 1"],
        ),
        case(
            "a quantised model",
            text(b"{\"quantization_config\": {\"bits\": 4}}".to_vec()),
            &["quantised"],
        ),
    ]);
}

#[test]
fn manifests() {
    let text = |bytes: String| move |at: &Path| put(at, MANIFEST, bytes);
    refused(vec![
        case("an empty file", text(String::new()), &[MANIFEST]),
        case(
            "300 MB",
            |at| sparse(at, MANIFEST, "{", 300 << 20),
            &[MANIFEST, "314572800"],
        ),
        case(
            "a million zeros",
            text(format!(
                "{{\"format\":1,\"facts\":{{\"a\":[{}0]}}}}",
                "0,".repeat(1 << 20)
            )),
            &[MANIFEST, "values"],
        ),
        case(
            "brackets",
            text(format!("{{\"format\":1,\"settings\":{}", "[".repeat(100_000))),
            &[MANIFEST],
        ),
        case(
            "another format",
            text("{\"format\":4294967296}".to_string()),
            &[MANIFEST, "u32"],
        ),
        case(
            "an unknown key",
            text("{\"format\":1,\"\\u001b[2J\":1}".to_string()),
            &[MANIFEST, "unknown field"],
        ),
    ]);
}

/// Plausible and large: read, in memory that goes with what there is.
#[test]
fn many_tensors_are_read_and_too_many_are_refused() {
    /// Most entries of a header or an index.
    const MOST: usize = 1 << 19;
    let read = |folder: &Path| outcome(open_only(folder).map(|_| Vec::new()));
    let entry = |n: usize| {
        format!(
            r#""t{n:07}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{}]}}"#,
            n + 1
        )
    };
    let header = format!("{{{}}}", (0..100_000).map(entry).collect::<Vec<_>>().join(","));
    let length = header.len();
    let outcome = opened("100,000 tensors", length, read, |at| {
        put(at, MODEL, safetensors(header, 100_000));
        let (planned, taken) = watched(|| open(at));
        assert!(matches!(planned, Outcome::Read(_)), "{planned:?}");
        // What a merge may take beside its buffers.
        assert!(taken.bytes <= 256 << 20, "the plan took {} bytes", taken.bytes);
    });
    assert!(matches!(outcome, Outcome::Read(_)), "{outcome:?}");

    let entries = |key: &str, value: &str, count: usize| {
        let entry = |n: usize| format!("\"{n:x}\":\"{value}\"");
        let all = (0..count).map(entry).collect::<Vec<_>>().join(",");
        format!("{{\"{key}\":{{{all}}}}}")
    };
    for count in [MOST, MOST + 1] {
        let metadata = entries("__metadata__", "", count);
        let length = metadata.len();
        let outcome = opened("much metadata", length, read, |at| {
            put(at, MODEL, safetensors(metadata, 0))
        });
        assert_eq!(matches!(outcome, Outcome::Read(_)), count == MOST, "{outcome:?}");
    }
    let map = entries("weight_map", "model-1.safetensors", MOST);
    let length = map.len();
    let outcome = opened("a long index", length, read, |at| sharded(at, map));
    assert!(
        matches!(&outcome, Outcome::Refused(message) if message.contains(INDEX)),
        "{outcome:?}"
    );
}
