//! Reading from a plain HTTP server straight into the memory where the bytes are wanted.
//!
//! A general client hands a body out in buffers of its own, and copying them to where they belong is a fifth of the
//! processor time of a merge over a fast network. Here the kernel writes the body where it belongs. Only one answer is
//! understood: the range that was asked for, with its length (RFC 9110, section 15.3.7). Whatever else happens (a refusal,
//! a redirect, a line that breaks) is an error without details, after which the caller asks with the ordinary client, which
//! repeats, waits and explains.
//!
//! Requests are signed in their address (SigV4 in the query), so object_store's credentials serve here too; what a server logs of
//! an address is good for [`SIGNED_FOR`]. Over TLS the ordinary client reads: decryption writes to buffers of its own anyway.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::path::Path as ObjectPath;
use object_store::signer::{Method, Signer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Position, Url};

/// Shorter reads are not worth another connection.
pub(crate) const LEAST_BYTES: usize = 256 << 10;
/// Longest head of an answer.
const HEAD_BYTES: usize = 8 << 10;
/// Most header lines of an answer.
const HEAD_LINES: usize = 64;
/// Connections kept open between reads.
const IDLE_CONNECTIONS: usize = 32;
/// How long: whatever lies between may forget a connection that nobody uses.
const IDLE_TIME: Duration = Duration::from_secs(20);
/// How long a kept connection may be silent before a new one is tried.
const KEPT_HEAD_TIME: Duration = Duration::from_secs(20);
/// How long a signed address is good for.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// As for the ordinary client.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const READ_TIME: Duration = Duration::from_secs(120);
/// After so many refusals in a row this server is not asked any more: it wants something that only the ordinary client
/// sends.
const REFUSALS: usize = 8;

/// Why nothing, or not everything, was read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The server, or something between, wants something else than we send.
    Refused,
    /// It answered that there is nothing to read, or not now.
    Otherwise,
    /// The line broke, or took too long.
    Broken,
}

/// The connections to the server of one bucket.
pub(crate) struct DirectReader {
    signer: Arc<dyn Signer>,
    idle: Mutex<Vec<(TcpStream, Instant)>>,
    refusals: AtomicUsize,
}

/// What an answer's head says.
struct Head {
    /// Where the body begins in what was received.
    body: usize,
    stays_open: bool,
}

impl DirectReader {
    pub(crate) fn new(signer: Arc<dyn Signer>) -> DirectReader {
        DirectReader {
            signer,
            idle: Mutex::default(),
            refusals: AtomicUsize::new(0),
        }
    }

    /// Reads `range` of the object (of its version `etag`, if one is named) into `buffer`, which has its length; `filled` says
    /// at any time how many bytes of it are there.
    pub(crate) async fn read(
        &self,
        path: &ObjectPath,
        range: Range<u64>,
        buffer: &mut [u8],
        filled: &mut usize,
        etag: Option<&str>,
    ) -> Result<(), Unread> {
        if self.refusals.load(Ordering::Relaxed) >= REFUSALS {
            return Err(Unread::Refused);
        }
        let reading = tokio::time::timeout(READ_TIME, self.read_within(path, range, buffer, filled, etag));
        let result = reading.await.unwrap_or(Err(Unread::Broken));
        match result {
            Ok(()) => self.refusals.store(0, Ordering::Relaxed),
            Err(Unread::Refused) => _ = self.refusals.fetch_add(1, Ordering::Relaxed),
            Err(Unread::Broken | Unread::Otherwise) => {}
        }
        result
    }

    async fn read_within(
        &self,
        path: &ObjectPath,
        range: Range<u64>,
        buffer: &mut [u8],
        filled: &mut usize,
        etag: Option<&str>,
    ) -> Result<(), Unread> {
        let signed = self.signer.signed_url(Method::GET, path, SIGNED_FOR).await;
        let url = signed.map_err(|_| Unread::Refused)?;
        let request = request(&url, &range, etag)?;
        let mut received = [0; HEAD_BYTES];
        // A connection that was kept may be good for nothing by now.
        let kept = match self.take_idle() {
            Some(kept) => {
                let asking = tokio::time::timeout(KEPT_HEAD_TIME, ask(kept, &request, &mut received));
                let answered = asking.await.ok().and_then(Result::ok);
                answered.and_then(|(kept, count)| {
                    let head = understand(&received[..count], &range, etag).ok()?;
                    Some((kept, count, head))
                })
            }
            None => None,
        };
        let (mut connection, count, head) = match kept {
            Some(kept) => kept,
            None => {
                let (new, count) = ask(connect(&url).await?, &request, &mut received).await?;
                let head = understand(&received[..count], &range, etag)?;
                (new, count, head)
            }
        };
        let early = &received[head.body..count];
        let room = buffer.get_mut(..early.len()).ok_or(Unread::Refused)?;
        room.copy_from_slice(early);
        *filled = early.len();
        while *filled < buffer.len() {
            match connection.read(&mut buffer[*filled..]).await.map_err(broken)? {
                0 => return Err(Unread::Broken),
                count => *filled += count,
            }
        }
        if head.stays_open {
            self.keep_idle(connection);
        }
        Ok(())
    }

    /// A connection that was kept lately and has nothing unread on it.
    fn take_idle(&self) -> Option<TcpStream> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < IDLE_TIME);
        while let Some((connection, _)) = idle.pop() {
            let unread = connection.try_read(&mut [0; 1]);
            if unread.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return Some(connection);
            }
        }
        None
    }

    fn keep_idle(&self, connection: TcpStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push((connection, Instant::now()));
        }
    }
}

fn broken(_: io::Error) -> Unread {
    Unread::Broken
}

async fn connect(url: &Url) -> Result<TcpStream, Unread> {
    let host = url.host_str().ok_or(Unread::Refused)?;
    // An IPv6 address is in brackets in a URL, and nowhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().ok_or(Unread::Refused)?;
    let connecting = tokio::time::timeout(CONNECT_TIME, TcpStream::connect((host, port)));
    let connection = connecting.await.map_err(|_| Unread::Broken)?.map_err(broken)?;
    let _ = connection.set_nodelay(true);
    Ok(connection)
}

fn request(url: &Url, range: &Range<u64>, etag: Option<&str>) -> Result<String, Unread> {
    let last = range.end.checked_sub(1).ok_or(Unread::Refused)?;
    let mut text = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: tributary\r\nRange: bytes={}-{last}\r\n",
        &url[Position::BeforePath..Position::AfterQuery],
        &url[Position::BeforeHost..Position::AfterPort],
        range.start,
    );
    if let Some(etag) = etag {
        if etag.contains(|letter: char| letter.is_control()) {
            return Err(Unread::Refused);
        }
        text.push_str(&format!("If-Match: {etag}\r\n"));
    }
    text.push_str("\r\n");
    Ok(text)
}

/// Sends the request and receives the head of the answer, and as much of its body as came with it.
async fn ask(
    mut connection: TcpStream,
    request: &str,
    received: &mut [u8; HEAD_BYTES],
) -> Result<(TcpStream, usize), Unread> {
    connection.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut count = 0;
    while !received[..count].windows(4).any(|end| end == b"\r\n\r\n") {
        if count == received.len() {
            return Err(Unread::Refused);
        }
        match connection.read(&mut received[count..]).await.map_err(broken)? {
            0 => return Err(Unread::Broken),
            more => count += more,
        }
    }
    Ok((connection, count))
}

/// The head in `received`, if it announces `range` in one piece, of the version `etag`.
fn understand(received: &[u8], range: &Range<u64>, etag: Option<&str>) -> Result<Head, Unread> {
    let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES];
    let mut answer = httparse::Response::new(&mut lines);
    let Ok(httparse::Status::Complete(body)) = answer.parse(received) else {
        return Err(Unread::Refused);
    };
    match answer.code {
        Some(206) => {}
        // Nothing there, replaced, no such range, too many requests, failures.
        Some(404 | 408 | 412 | 416 | 429 | 500..) => return Err(Unread::Otherwise),
        _ => return Err(Unread::Refused),
    }
    let all = |name: &'static str| {
        let lines = answer.headers.iter();
        let lines = lines.filter(move |line| line.name.eq_ignore_ascii_case(name));
        lines.map(|line| std::str::from_utf8(line.value).unwrap_or_default().trim())
    };
    let place = format!("bytes {}-{}/", range.start, range.end.saturating_sub(1));
    let lengths: Vec<&str> = all("content-length").collect();
    let length = (range.end - range.start).to_string();
    let is_wanted = lengths == [length.as_str()]
        && all("content-range").all(|given| given.starts_with(&place))
        && all("content-range").count() == 1
        && all("transfer-encoding").count() == 0
        && all("content-encoding").count() == 0
        && all("etag").all(|given| etag.is_none_or(|etag| given == etag));
    if !is_wanted {
        return Err(Unread::Refused);
    }
    let closes = all("connection").any(|given| given.to_ascii_lowercase().contains("close"));
    Ok(Head {
        body,
        stays_open: answer.version == Some(1) && !closes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str =
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\ncontent-range: bytes 10-14/99\r\n\r\nabc";

    #[test]
    fn the_range_that_was_asked_for_is_understood() {
        let head = understand(WANTED.as_bytes(), &(10..15), None).unwrap();
        assert_eq!(&WANTED[head.body..], "abc");
        assert!(head.stays_open);
        let closing = WANTED.replace(
            "Content-Length",
            "Connection: keep-alive, Close\r\nContent-Length",
        );
        assert!(
            !understand(closing.as_bytes(), &(10..15), None)
                .unwrap()
                .stays_open
        );
        let old = WANTED.replace("HTTP/1.1", "HTTP/1.0");
        assert!(!understand(old.as_bytes(), &(10..15), None).unwrap().stays_open);
    }

    #[test]
    fn nothing_else_is() {
        let others = [
            WANTED.replace("206", "200"),
            WANTED.replace("206 Partial Content", "403 Forbidden"),
            WANTED.replace("Length: 5", "Length: 6"),
            WANTED.replace("Length: 5", "Length: 18446744073709551616"),
            WANTED.replace("Length: 5", "Length: 5\r\nContent-Length: 9"),
            WANTED.replace("\r\n\r\n", "\r\nETag: \"2\"\r\n\r\n"),
            WANTED.replace("10-14/", "11-15/"),
            WANTED.replace("Content-Length", "Content-Size"),
            WANTED.replace("content-range", "content-place"),
            WANTED.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
            WANTED.replace("\r\n\r\n", "\r\nContent-Encoding: gzip\r\n\r\n"),
            "SSH-2.0-OpenSSH_9.6\r\n\r\n".to_string(),
        ];
        for other in others {
            assert!(
                understand(other.as_bytes(), &(10..15), Some("\"1\"")).is_err(),
                "{other}"
            );
        }
    }

    #[test]
    fn a_request_names_host_range_and_version() {
        let url = Url::parse("http://127.0.0.1:9000/bucket/a%20b?X-Amz-Signature=12").unwrap();
        let text = request(&url, &(10..15), Some("\"tag\"")).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        let wanted = [
            "GET /bucket/a%20b?X-Amz-Signature=12 HTTP/1.1",
            "Host: 127.0.0.1:9000",
            "User-Agent: tributary",
            "Range: bytes=10-14",
            "If-Match: \"tag\"",
            "",
            "",
        ];
        assert_eq!(lines, wanted);
        assert!(request(&url, &(10..15), Some("a\r\nHost: b")).is_err());
    }

    /// A server that answers each connection with what is given, whatever it is asked, and then closes it.
    async fn server(answers: Vec<Vec<u8>>) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/bucket/key", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in answers {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = connection.read(&mut request).await;
                let _ = connection.write_all(&answer).await;
            }
        });
        url.parse().unwrap()
    }

    /// Signs nothing.
    #[derive(Debug)]
    struct Unsigned(Url);

    #[async_trait::async_trait]
    impl Signer for Unsigned {
        async fn signed_url(&self, _: Method, _: &ObjectPath, _: Duration) -> object_store::Result<Url> {
            Ok(self.0.clone())
        }
    }

    #[tokio::test]
    async fn what_was_read_before_a_line_breaks_is_told() {
        let whole = [WANTED.as_bytes(), b"de"].concat();
        let url = server(vec![
            whole.clone(),
            WANTED.into(),
            b"HTTP/1.1 503 Slow Down\r\n\r\n".to_vec(),
            whole,
        ])
        .await;
        let reader = DirectReader::new(Arc::new(Unsigned(url)));
        let path = ObjectPath::from("key");
        let read = async |reader: &DirectReader| {
            let (mut buffer, mut filled) = ([0; 5], 0);
            let result = reader.read(&path, 10..15, &mut buffer, &mut filled, None).await;
            (result.map_err(|error| format!("{error:?}")), filled, buffer)
        };
        assert_eq!(read(&reader).await, (Ok(()), 5, *b"abcde"));
        // The first connection was kept, and is closed by now or has nothing to say: a new one is made.
        let (result, filled, buffer) = read(&reader).await;
        assert_eq!(
            (result, filled, &buffer[..3]),
            (Err("Broken".to_owned()), 3, &b"abc"[..])
        );
        assert_eq!(read(&reader).await.0, Err("Otherwise".to_owned()));
        assert_eq!(read(&reader).await, (Ok(()), 5, *b"abcde"));
    }

    #[tokio::test]
    async fn a_server_that_wants_something_else_is_not_asked_for_ever() {
        let url = server(vec![b"HTTP/1.1 403 Forbidden\r\n\r\n".to_vec(); REFUSALS]).await;
        let reader = DirectReader::new(Arc::new(Unsigned(url)));
        for _ in 0..REFUSALS + 3 {
            let (mut buffer, mut filled) = ([0; 5], 0);
            let path = ObjectPath::from("key");
            let result = reader.read(&path, 10..15, &mut buffer, &mut filled, None).await;
            assert!(matches!(result, Err(Unread::Refused)), "{result:?}");
        }
    }
}
