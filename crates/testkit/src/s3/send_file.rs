//! Answering GETs of whole files with sendfile(2), which copies nothing on the server's side.
//!
//! Client and server of a measurement share the processors; what the server saves is not measured as if it were the
//! client's. (nginx, for one, serves files so.) A connection whose requests are not for files is left, untouched, to the
//! general service.

use std::fs::File;
use std::io;
use std::sync::Arc;

use s3s::dto::{ETagCondition, Range};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::BUCKET;
use super::served::ServedFolder;
use super::traffic::Traffic;

/// Longest head of a request.
const HEAD_BYTES: usize = 8 << 10;
const HEAD_LINES: usize = 64;
/// Bytes that are sent, and counted, at once.
const SENT_BYTES: u64 = 4 << 20;

/// Part of a file, as one request asks for it.
struct Wanted {
    /// Bytes of the request's head.
    head: usize,
    path: String,
    file: Arc<File>,
    range: std::ops::Range<u64>,
    size: u64,
    tag: String,
}

/// Answers requests for files until there is another one; says whether it is there, still unread.
pub(crate) async fn answer_files(
    connection: &mut TcpStream,
    served: &ServedFolder,
    traffic: &Traffic,
) -> io::Result<bool> {
    let mut request = [0; HEAD_BYTES];
    loop {
        let count = connection.peek(&mut request).await?;
        if count == 0 {
            return Ok(false);
        }
        let Some(wanted) = understand(&request[..count], served) else {
            return Ok(true);
        };
        connection.read_exact(&mut request[..wanted.head]).await?;
        traffic.asked("GET", &wanted.path, 0);
        send(connection, &wanted, traffic).await?;
    }
}

/// The request that begins here, if it has arrived whole and is for part of a file of the folder.
fn understand(request: &[u8], served: &ServedFolder) -> Option<Wanted> {
    let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES];
    let mut parsed = httparse::Request::new(&mut lines);
    let httparse::Status::Complete(head) = parsed.parse(request).ok()? else {
        return None;
    };
    let path = parsed.path?.split('?').next()?;
    let key = path.strip_prefix(&format!("/{BUCKET}/"))?;
    let is_plain = parsed.method == Some("GET") && !key.is_empty() && !key.contains('%');
    let header = |name: &str| {
        let line = parsed
            .headers
            .iter()
            .find(|line| line.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(line.value).ok()
    };
    let range = Range::parse(header("range")?).ok()?;
    let condition = header("if-match")
        .map(str::parse::<ETagCondition>)
        .transpose()
        .ok()?;
    let (file, size, tag) = is_plain.then(|| served.file(key, condition.as_ref()))??;
    Some(Wanted {
        head,
        path: path.to_owned(),
        file,
        range: range.check(size).ok()?,
        size,
        tag,
    })
}

async fn send(connection: &mut TcpStream, wanted: &Wanted, traffic: &Traffic) -> io::Result<()> {
    let std::ops::Range { start, end } = wanted.range;
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nETag: {}\r\n\r\n",
        end - start,
        end.saturating_sub(1),
        wanted.size,
        wanted.tag,
    );
    connection.write_all(head.as_bytes()).await?;
    let mut at = start;
    while at < end {
        let count = usize::try_from(SENT_BYTES.min(end - at)).map_err(io::Error::other)?;
        let before = at;
        let send = || {
            Ok(rustix::fs::sendfile(
                &*connection,
                &wanted.file,
                Some(&mut at),
                count,
            )?)
        };
        if connection.async_io(Interest::WRITABLE, send).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        traffic.sent("GET", &wanted.path, at - before);
    }
    Ok(())
}
