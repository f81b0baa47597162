//! Fuzzing GGUF: metadata, tensor table, and the model and tokenizer that are made of them. The other formats, and
//! what the directory of a model holds, are fuzzed where they are read most, by merging.

use std::path::Path;
use std::sync::Arc;

use tributary_tensorfile::Foreign;
use tributary_tensorfile::gguf::Gguf;
use tributary_testkit::fuzz::{Outcome, Random, Target};

use crate::support::{GgufFile, Value, tiny_llama};

/// Zeros behind every input: as many as the tensors of the seeds take, which are not worth changing.
const DATA: usize = 128 << 10;

/// The head of a GGUF file.
struct Head {
    folder: tempfile::TempDir,
}

impl Head {
    fn open(&self, input: &[u8]) -> tributary_tensorfile::Result<()> {
        let file = [input, &vec![0; DATA]].concat();
        let gguf = Gguf::open("model.gguf", Arc::new(file.clone()))?;
        for tensor in gguf.tensors() {
            assert_eq!(gguf.read_f32(tensor)?.len(), tensor.elements());
        }
        let path = self.folder.path().join("model.gguf");
        std::fs::write(&path, file).unwrap();
        let model = Foreign::open(&path)?;
        for (index, tensor) in model.tensors.iter().enumerate() {
            assert_eq!(model.read_f32(index)?.len(), tensor.elements());
        }
        Ok(())
    }
}

/// One entry of the metadata, as it stands in a file.
fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let length = (key.len() as u64).to_le_bytes();
    [&length[..], key.as_bytes(), &kind.to_le_bytes(), value].concat()
}

/// Entries that may be added to any file.
fn entries() -> Vec<Vec<u8>> {
    let list = [
        &8u32.to_le_bytes()[..],
        &1u64.to_le_bytes(),
        &1u64.to_le_bytes(),
        b"x",
    ]
    .concat();
    vec![
        entry("general.alignment", 4, &64u32.to_le_bytes()),
        entry("x", 7, &[1]),
        entry("x", 9, &list),
        entry("x", 10, &u64::MAX.to_le_bytes()),
        entry("x", 12, &f64::NAN.to_le_bytes()),
        entry(
            "llama.rope.scaling.type",
            8,
            &[&4u64.to_le_bytes()[..], b"yarn"].concat(),
        ),
        entry("llama.attention.key_length", 4, &8u32.to_le_bytes()),
    ]
}

impl Target for Head {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let scaled = tiny_llama(false)
            .with("llama.rope.scaling.type", Value::Text("linear".into()))
            .with("llama.rope.scaling.factor", Value::F32(2.0));
        let head = |file: &GgufFile| {
            let data: usize = file
                .tensors
                .iter()
                .map(|tensor| tensor.data.len().next_multiple_of(32))
                .sum();
            let mut bytes = file.bytes();
            bytes.truncate(bytes.len().saturating_sub(data));
            bytes
        };
        [tiny_llama(false), tiny_llama(true), scaled]
            .iter()
            .map(head)
            .collect()
    }

    fn dictionary(&self) -> Vec<Vec<u8>> {
        let list = [&9u32.to_le_bytes()[..], &9u32.to_le_bytes(), &1u64.to_le_bytes()].concat();
        let mut words = entries();
        words.push(list);
        words.extend([f32::NAN, f32::INFINITY, -1.0].map(|number| number.to_le_bytes().to_vec()));
        let names = [
            "blk.0.attn_k.weight",
            "token_embd.weight",
            "rope_freqs.weight",
            "output.weight",
            "\x1b[2J",
        ];
        words.extend(names.map(|name| name.as_bytes().to_vec()));
        words
    }

    /// The first bytes; sometimes one more entry, and the count that says so.
    fn repair(&self, input: &mut Vec<u8>, random: &mut Random) {
        if let Some(head) = input.get_mut(..4) {
            head.copy_from_slice(b"GGUF");
        }
        if random.once_in(3)
            && let Some(added) = random.pick(&entries())
            && let Some(count) = input.get_mut(16..24)
        {
            count[0] = count[0].wrapping_add(1);
            input.splice(24..24, added.iter().copied());
        }
    }

    fn read(&mut self, input: &[u8]) -> Outcome {
        match self.open(input) {
            Ok(()) => Outcome::Read(String::new()),
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }
}

#[test]
fn gguf() {
    let mut head = Head {
        folder: tempfile::tempdir().unwrap(),
    };
    let kept = include_str!("kept.txt");
    tributary_testkit::fuzz::run(&mut head, kept, Path::new(env!("CARGO_TARGET_TMPDIR")));
}
