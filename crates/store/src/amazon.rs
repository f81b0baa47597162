//! The client for S3 and compatible servers, built from what the environment says.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};
use url::{Host, Url};

use crate::credentials::{Environment, S3Settings};
use crate::direct_read::DirectReader;
use crate::error::{Result, StoreError};
use crate::pauses::{BUDGET, FIRST_PAUSE, LONGEST_PAUSE, TRIES};
use crate::secrets::mask;
use crate::store::Store;

/// Opens `bucket`; `url` is the address as given, for messages.
pub(crate) fn open(url: &str, bucket: &str, prefix: String, environment: &Environment) -> Result<Store> {
    let settings = S3Settings::find(environment);
    let secrets = settings.secrets();
    let fail = |reason: String| StoreError::Address {
        address: mask(url),
        reason: secrets.mask(&reason),
    };
    if settings.access_key.is_none()
        && let Some(name) = &settings.unsupported
    {
        return Err(fail(format!(
            "the AWS profile uses {name}, which this program does not follow; run \
             `eval \"$(aws configure export-credentials --format env)\"` first"
        )));
    }
    if let Some(endpoint) = &settings.endpoint {
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        if !Url::parse(endpoint).is_ok_and(|url| is_http(&url)) {
            // Not what it is instead: people put passwords there.
            let reason = "AWS_ENDPOINT_URL (or the profile's endpoint_url) is no address of a server; write http://HOST:PORT or https://HOST";
            return Err(fail(reason.to_owned()));
        }
    }
    let anonymous = environment
        .get("AWS_SKIP_SIGNATURE")
        .is_some_and(|value| value == "true");
    if settings.access_key.is_none() && settings.endpoint.is_some() && !anonymous {
        return Err(fail(
            "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials"
                .to_string(),
        ));
    }
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: FIRST_PAUSE,
            max_backoff: LONGEST_PAUSE,
            base: 2.0,
        },
        max_retries: TRIES - 1,
        retry_timeout: BUDGET,
    };
    // What else the client knows of the environment: container and web identity credentials, checksums, encryption.
    let known = environment
        .iter()
        .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
        .filter_map(|(name, value)| {
            let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().ok()?;
            Some((key, value))
        });
    let mut builder = known
        .fold(AmazonS3Builder::new(), |builder, (key, value)| {
            builder.with_config(key, value)
        })
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // One request carries at most one part; the default of 30 s is short for a poor line.
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), "120s")
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), "10s");
    if let (Some(key), Some(secret)) = (&settings.access_key, &settings.secret_key) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
    }
    if let Some(token) = &settings.session_token {
        builder = builder.with_token(token);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    let is_plain = |endpoint: &String| endpoint.to_ascii_lowercase().starts_with("http://");
    // Over TLS, and within one machine, nobody can change a payload on its way; hashing it for the signature too would cost a
    // tenth of an upload.
    let is_open = |endpoint: &String| is_plain(endpoint) && !is_loopback(endpoint);
    if !settings.endpoint.as_ref().is_some_and(is_open) && environment.get("AWS_UNSIGNED_PAYLOAD").is_none() {
        builder = builder.with_unsigned_payload(true);
    }
    if let Some(endpoint) = &settings.endpoint {
        let plain = is_plain(endpoint);
        builder = builder
            .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
            .with_endpoint(endpoint)
            .with_allow_http(plain);
    }
    let backend = builder.build().map_err(|error| fail(error.to_string()))?;
    let backend = Arc::new(backend);
    let is_reached_directly =
        settings.endpoint.as_ref().is_some_and(is_plain) && !anonymous && !has_proxy(environment);
    let direct = is_reached_directly.then(|| DirectReader::new(Arc::clone(&backend) as Arc<dyn Signer>));
    Ok(Store::remote(
        backend,
        direct,
        format!("s3://{bucket}"),
        secrets,
        true,
        prefix,
    ))
}

/// Does the environment name a proxy for plain HTTP? The ordinary client knows what it is good for.
fn has_proxy(environment: &Environment) -> bool {
    let names = ["http_proxy", "all_proxy", "aws_proxy_url"];
    environment
        .iter()
        .any(|(name, value)| !value.is_empty() && names.contains(&name.to_ascii_lowercase().as_str()))
}

/// Does this endpoint lie on this machine?
fn is_loopback(endpoint: &str) -> bool {
    let host = Url::parse(endpoint).ok();
    match host.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_of_a_server() {
        let open_at = |endpoint: &str| {
            let variables = [
                ("AWS_ENDPOINT_URL", endpoint),
                ("AWS_ACCESS_KEY_ID", "key"),
                ("AWS_SECRET_ACCESS_KEY", "secret-secret"),
                ("AWS_REGION", "us-east-1"),
            ];
            let environment = variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
            open("s3://bucket/x", "bucket", "x".to_owned(), &environment)
        };
        for wrong in ["127.0.0.1:9000", "localhost", "ftp://host", "http://"] {
            let error = open_at(wrong)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(error.contains("write http://HOST:PORT"), "{wrong}: {error}");
        }
        for right in ["", "http://127.0.0.1:9000", "https://storage.example.org/"] {
            assert!(open_at(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        for here in [
            "http://127.0.0.1:9000",
            "http://localhost/",
            "http://[::1]:1",
            "http://127.8.0.1",
        ] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "http://10.0.0.1",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "nowhere",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
