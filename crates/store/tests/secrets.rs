//! A canary secret in every place a credential may come from never shows in any text.

#![expect(clippy::unwrap_used)]

mod backends;

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tributary_store::{Artifact, Store, mask};
use tributary_testkit::s3::{BUCKET, SECRET_KEY};

const CANARY: &str = "cAnAry/0123456789+secret=";
const TOKEN: &str = "tOkEn-cAnAry-9876543210";

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn masking_hides_users_and_signatures(
        before in "[ a-z:\"'(]{0,12}",
        user in "[A-Za-z0-9]{0,8}",
        host in "[a-z0-9.-]{1,12}(:[0-9]{1,4})?",
        path in "[a-z0-9/]{0,12}",
        name in "(x-amz-|X-Amz-|X-AMZ-)[A-Za-z-]{1,12}",
        other in "n[a-z]{1,4}",
        after in "[ a-z\"')]{0,12}",
    ) {
        let plain = "cAnAry0123456789";
        for secret in [plain, CANARY] {
            let text = format!("{before}s3://{user}:{secret}@{host}/{path}?{other}=1&z=2 {after}");
            let masked = mask(&text);
            prop_assert!(!masked.contains(secret), "{masked}");
            prop_assert!(masked.contains(&format!("@{host}/{path}?{other}=1")) || secret == CANARY, "{masked}");
        }
        let text = format!("{before} https://{host}/{path}?{other}=1&{name}={plain}&end=3 {after}");
        let masked = mask(&text);
        prop_assert!(!masked.contains(plain), "{masked}");
        prop_assert!(masked.contains(&format!("{other}=1&")) && masked.contains("&end=3"), "{masked}");
        prop_assert_eq!(mask(&masked), masked.clone());
    }

    #[test]
    fn masking_leaves_other_text_alone(text in "[a-zA-Z0-9 /:._-]{0,60}") {
        prop_assert_eq!(mask(&text), text.clone());
    }
}

/// Everything tracing is told, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.note(&format!("{span:?}"));
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        self.note(&format!("{values:?}"));
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.note(&format!("{event:?}"));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

impl Log {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push_str(text);
    }
}

/// Tries much that fails and some that works with `environment`; returns all texts.
fn texts(environment: &[(&str, String)]) -> String {
    let owned = || {
        environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
    };
    let mut texts = String::new();
    for url in [
        format!("s3://{BUCKET}/canary"),
        format!("s3://user:{CANARY}@{BUCKET}/x"),
        format!("s3://b/x?{CANARY}"),
    ] {
        match Store::open_with(&url, owned()) {
            Err(error) => texts.push_str(&format!("{error} {error:?}")),
            Ok(store) => {
                texts.push_str(&format!(
                    "{store} {store:?} {:#?} {}",
                    store.pointer("x"),
                    store.url()
                ));
                let mut note = |result: tributary_store::Result<String>| match result {
                    Ok(text) => texts.push_str(&text),
                    Err(error) => {
                        texts.push_str(&format!("{error} {error:?} {error:#?}"));
                        texts.push_str(&format!("{:?}", std::io::Error::from(error)));
                    }
                };
                note(store.get("none").map(|bytes| format!("{bytes:?}")));
                note(store.put("x", &b"x"[..]).map(|()| String::new()));
                note(store.list("").map(|list| format!("{list:?}")));
                note(
                    backends::publish(&store.child("a").unwrap(), &[("x", vec![1])])
                        .map(|a| format!("{a:?}")),
                );
                note(Artifact::open(&store).map(|artifact| format!("{artifact:?}")));
                note(store.get("a/tributary.json").map(|bytes| format!("{bytes:?}")));
                note(
                    store
                        .pointer("latest")
                        .unwrap()
                        .set("a")
                        .map(|value| format!("{value:?}")),
                );
            }
        }
    }
    texts
}

#[test]
fn canaries_never_show() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let server = backends::server();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(
        &file,
        format!("[default]\naws_access_key_id=AKIA{TOKEN}\naws_secret_access_key={CANARY}\n"),
    )
    .unwrap();
    let value = |text: &str| text.to_owned();
    let endpoint = ("AWS_ENDPOINT_URL", server.endpoint.clone());
    let region = ("AWS_REGION", value("us-east-1"));
    let cases = [
        server.environment(),
        // Refused: a wrong secret, a token nobody knows.
        vec![
            endpoint.clone(),
            region.clone(),
            ("AWS_ACCESS_KEY_ID", value(tributary_testkit::s3::ACCESS_KEY)),
            ("AWS_SECRET_ACCESS_KEY", value(CANARY)),
            ("AWS_SESSION_TOKEN", value(TOKEN)),
        ],
        vec![
            endpoint.clone(),
            region.clone(),
            ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap().to_owned()),
        ],
        // An endpoint that holds a password.
        vec![
            (
                "AWS_ENDPOINT_URL",
                server.endpoint.replace("://", &format!("://user:{TOKEN}@")),
            ),
            ("AWS_ACCESS_KEY_ID", value(TOKEN)),
            ("AWS_SECRET_ACCESS_KEY", value(CANARY)),
        ],
        vec![
            ("AWS_ENDPOINT_URL", format!("nonsense {TOKEN}")),
            ("AWS_SECRET_ACCESS_KEY", value(CANARY)),
        ],
        vec![endpoint, region],
    ];
    let mut all = String::new();
    for case in &cases {
        all.push_str(&texts(case));
    }
    assert!(
        all.contains("access refused") && all.contains("s3://bucket/canary"),
        "{all}"
    );
    // What the server of the same process logs is not ours to keep; it knows its own key only.
    for secret in [CANARY, TOKEN, SECRET_KEY] {
        assert!(!all.contains(secret), "{secret} shows in: {all}");
    }
    let log = log.0.lock().unwrap();
    for secret in [CANARY, SECRET_KEY] {
        assert!(!log.contains(secret), "{secret} shows in the log");
    }
}
