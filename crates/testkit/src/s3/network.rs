//! The network between client and server, with its faults: what s3s answers is passed on, changed or thrown away.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use s3s::dto::StreamingBlob;
use s3s::service::S3Service;
use s3s::{Body, HttpResponse};

use crate::faults::{Fault, FaultSource};

/// The S3 service with faults; an error of the service breaks the connection.
#[derive(Clone)]
pub(crate) struct FaultyService {
    inner: S3Service,
    faults: Arc<FaultSource>,
}

impl FaultyService {
    pub(crate) fn new(inner: S3Service, faults: Arc<FaultSource>) -> FaultyService {
        FaultyService { inner, faults }
    }

    async fn answer(self, request: Request<Incoming>) -> io::Result<HttpResponse> {
        let reads_body = request.method() == Method::GET;
        let fault = self.faults.draw();
        match fault {
            Some(Fault::InternalError) => return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Some(Fault::SlowDown) => return failure(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            Some(Fault::ResetBefore) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::Slow) => tokio::time::sleep(self.faults.delay()).await,
            _ => {}
        }
        let response = self
            .inner
            .call(request.map(Body::from))
            .await
            .map_err(io::Error::other)?;
        match fault {
            Some(Fault::LostAnswer) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fault::ErrorAfter) => failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Some(Fault::CutBody) if reads_body => Ok(cut(response)),
            Some(Fault::Slow) if reads_body => Ok(trickle(response, self.faults.delay())),
            _ => Ok(response),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for FaultyService {
    type Response = HttpResponse;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<HttpResponse>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

fn failure(status: StatusCode, code: &str) -> io::Result<HttpResponse> {
    let text =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/xml")
        .header(CONTENT_LENGTH, text.len())
        .body(Body::from(text))
        .map_err(io::Error::other)
}

/// The first half of the body, then the end of the connection.
fn cut(response: HttpResponse) -> HttpResponse {
    let length = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let Some(mut left) = length.map(|length| length / 2) else {
        return response;
    };
    response.map(|body| {
        let pieces = StreamingBlob::from(body).map(move |piece| {
            let piece: Bytes = piece.map_err(io::Error::other)?;
            if left == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let piece = piece.slice(..piece.len().min(left));
            left -= piece.len();
            Ok(piece)
        });
        let end = stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
        Body::from(StreamingBlob::wrap(pieces.chain(end)))
    })
}

/// Every piece of the body late.
fn trickle(response: HttpResponse, delay: Duration) -> HttpResponse {
    response.map(|body| {
        let late = StreamingBlob::from(body).then(move |piece| async move {
            tokio::time::sleep(delay).await;
            piece.map_err(io::Error::other)
        });
        Body::from(StreamingBlob::wrap(late))
    })
}
