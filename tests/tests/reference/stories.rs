//! stories260K tells its published story.

use crate::program::trib;
use crate::shared;

#[test]
fn stories260k_tells_its_published_story() {
    let Some(model) = shared("models/stories260K") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("stories").to_str().unwrap().to_owned();
    trib(&[
        "import",
        model.join("stories260K.bin").to_str().unwrap(),
        &artifact,
    ]);

    let card = std::fs::read_to_string(model.join("stories260K.md")).unwrap();
    let (_, after) = card.split_once("tok512.bin -t 0.0\n").unwrap();
    let (published, _) = after.split_once("\n```").unwrap();
    // llama2.c takes 256 steps, of which the first reads the token that begins a text.
    let told = trib(&[
        "generate",
        &artifact,
        "--prompt",
        "",
        "--max-new-tokens",
        "256",
        "--temperature",
        "0",
    ]);
    assert_eq!(told["text"].as_str().unwrap(), published);
}
