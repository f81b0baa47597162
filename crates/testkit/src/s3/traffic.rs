//! What goes over the network, by method and object, and a service that counts it.
//!
//! `GET /-/traffic` answers with the counts as JSON, `DELETE /-/traffic` sets them to zero; no bucket can be called `-`.
//! The service believes every signature: who measures a client on the same machine does not want to measure hashing at
//! both ends of the line.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{HeaderMap, Method, Request, Response};
use s3s::dto::StreamingBlob;
use s3s::service::S3Service;
use s3s::{Body, HttpResponse};
use serde_json::{Value, json};

/// Path of the counts.
const PLACE: &str = "/-/traffic";

/// Requests and bytes of one method on one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub received: u64,
    /// Bytes of the bodies of the answers.
    pub sent: u64,
}

/// Counts by method and path (`/bucket/key`).
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    counts: Arc<Mutex<BTreeMap<(String, String), Count>>>,
}

impl Traffic {
    /// The counts as they are now.
    pub fn counts(&self) -> BTreeMap<(String, String), Count> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets all counts to zero.
    pub fn clear(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn add(&self, method: &Method, path: &str, change: impl FnOnce(&mut Count)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(counts.entry((method.to_string(), path.to_owned())).or_default());
    }

    fn document(&self) -> Value {
        let row = |((method, path), count): ((String, String), Count)| {
            json!({
                "method": method, "path": path,
                "requests": count.requests, "received": count.received, "sent": count.sent,
            })
        };
        self.counts().into_iter().map(row).collect()
    }
}

/// An S3 service whose traffic is counted.
#[derive(Clone)]
pub(crate) struct CountingService {
    inner: S3Service,
    traffic: Traffic,
}

impl CountingService {
    pub(crate) fn new(inner: S3Service, traffic: Traffic) -> CountingService {
        CountingService { inner, traffic }
    }

    async fn answer(self, mut request: Request<Incoming>) -> io::Result<HttpResponse> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if path == PLACE {
            if method == Method::DELETE {
                self.traffic.clear();
            }
            return Response::builder()
                .header(CONTENT_TYPE, "application/json")
                .body(Body::from(self.traffic.document().to_string()))
                .map_err(io::Error::other);
        }
        for name in [AUTHORIZATION.as_str(), "x-amz-content-sha256", "x-amz-date"] {
            request.headers_mut().remove(name);
        }
        // A signature in the address: nothing else stands there then.
        if request
            .uri()
            .query()
            .is_some_and(|query| query.contains("X-Amz-Signature="))
        {
            *request.uri_mut() = path.parse().map_err(io::Error::other)?;
        }
        let received = length(request.headers());
        self.traffic.add(&method, &path, |count| {
            count.requests += 1;
            count.received += received;
        });
        let response = self
            .inner
            .call(request.map(Body::from))
            .await
            .map_err(io::Error::other)?;
        Ok(if method == Method::GET {
            response.map(|body| counted(body, self.traffic, method, path))
        } else {
            response
        })
    }
}

fn length(headers: &HeaderMap) -> u64 {
    let given = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    given.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The body, counted piece by piece as it is sent: a client may hang up before its end.
fn counted(body: Body, traffic: Traffic, method: Method, path: String) -> Body {
    let pieces = StreamingBlob::from(body).map(move |piece| {
        let piece: Bytes = piece.map_err(io::Error::other)?;
        traffic.add(&method, &path, |count| count.sent += piece.len() as u64);
        Ok::<_, io::Error>(piece)
    });
    Body::from(StreamingBlob::wrap(pieces))
}

impl hyper::service::Service<Request<Incoming>> for CountingService {
    type Response = HttpResponse;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<HttpResponse>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}
