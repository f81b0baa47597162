//! Chat templates against goldens that transformers rendered (`goldens/make_chat.py`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

use serde_json::Value;
use tributary_data::{ChatTemplate, Message};

#[test]
fn renderings_equal_transformers() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../goldens/chat.json")).unwrap();
    assert!(cases.len() >= 30);
    let specials = [
        ("bos_token".to_owned(), "<s>".to_owned()),
        ("eos_token".to_owned(), "</s>".to_owned()),
    ];
    let mut wrong = Vec::new();
    for case in &cases {
        let template = ChatTemplate::new(case["template"].as_str().unwrap(), &specials).unwrap();
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        for (add_generation_prompt, golden) in [(false, &case["without"]), (true, &case["with"])] {
            let ours = template.render(&messages, add_generation_prompt);
            let same = match (&ours, golden["text"].as_str(), golden["error"].as_str()) {
                (Ok(ours), Some(theirs), None) => ours == theirs,
                (Err(ours), None, Some(theirs)) => ours.to_string().contains(theirs),
                _ => false,
            };
            if !same {
                wrong.push(format!(
                    "{} (generation prompt: {add_generation_prompt})\n ours:   {ours:?}\n theirs: {golden}",
                    case["name"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
