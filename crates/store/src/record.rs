//! The record of a finished object: what any writer of the same artifact needs to make it part of a commit.
//!
//! Stored as one line of JSON, then the note of whoever finished the object, as it is. A record that is read is hostile
//! until checked, as a manifest is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::key::check_path;
use crate::manifest::{MANIFEST, ObjectEntry};
use crate::remote_upload::KeptUpload;
use crate::writer::Written;

const FORMAT: u32 = 1;
/// Longest note of one object, in bytes.
pub const MAX_NOTE_BYTES: u64 = 16 << 20;
/// Longest record that is read: digests and part names of a very large object, and the note.
pub(crate) const MAX_RECORD_BYTES: u64 = MAX_NOTE_BYTES + (16 << 20);
/// Where the records are, below the state of a publication.
pub(crate) const RECORDS: &str = "records";

/// A finished object and where its bytes wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) object: ObjectEntry,
    /// On servers, unless the object is empty.
    pub(crate) upload: Option<KeptUpload>,
    pub(crate) note: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    object: ObjectEntry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload: Option<KeptUpload>,
}

impl Record {
    /// The key of the record of the object `path`.
    pub(crate) fn key_of(path: &str) -> String {
        format!("{RECORDS}/{}", name(path))
    }

    pub(crate) fn key(&self) -> String {
        Record::key_of(&self.object.path)
    }

    /// The key of the file that holds the object on local stores: another one for other bytes.
    pub(crate) fn data_key(&self) -> String {
        data_key(&self.object)
    }

    /// The key of what the completion of the upload leaves: the version tag of the object it made.
    pub(crate) fn mark_key(&self) -> String {
        format!("placed/{}", name(&self.object.path))
    }

    pub(crate) fn written(&self) -> Option<Written> {
        let (blake3, chunks) = self.object.digests()?;
        Some(Written {
            path: self.object.path.clone(),
            size: self.object.size,
            blake3,
            chunks,
        })
    }

    pub(crate) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let head = Head {
            format: FORMAT,
            object: self.object.clone(),
            upload: self.upload.clone(),
        };
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.note);
        Ok(bytes)
    }

    /// Reads the record stored under `key`.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub(crate) fn parse(key: &str, bytes: &Bytes) -> Result<Record, String> {
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or("it is cut off")?;
        let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|error| error.to_string())?;
        if head.format != FORMAT {
            return Err(format!("format {}; this program reads {FORMAT}", head.format));
        }
        let object = head.object;
        check_path(&object.path).map_err(|error| error.to_string())?;
        if object.path == MANIFEST || Record::key_of(&object.path) != key {
            return Err("it speaks of another object".to_string());
        }
        if object.digests().is_none() {
            return Err("its digests do not fit its size".to_string());
        }
        Ok(Record {
            object,
            upload: head.upload,
            note: bytes.slice(end + 1..),
        })
    }
}

pub(crate) fn data_key(object: &ObjectEntry) -> String {
    format!("data/{}", name(&format!("{}\0{}", object.path, object.blake3)))
}

/// Paths may be long and have slashes; this is neither.
fn name(text: &str) -> String {
    Digest::of(text.as_bytes()).to_hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_checked() {
        let record = Record {
            object: Written::of("sub/x", b"bytes").into(),
            upload: Some(KeptUpload {
                id: "id\n".to_string(),
                parts: vec!["\"1\"".to_string()],
            }),
            note: Bytes::from_static(b"{\n}\n"),
        };
        let bytes = Bytes::from(record.to_bytes().unwrap());
        assert_eq!(Record::parse(&record.key(), &bytes).unwrap(), record);
        assert!(Record::parse(&Record::key_of("other"), &bytes).is_err());
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        for bad in [
            text.replace("\"format\":1", "\"format\":2"),
            text.replace("\"size\":5", "\"size\":0"),
            text.replace("sub/x", "../x"),
            text[..20].to_string(),
            String::new(),
        ] {
            assert!(Record::parse(&record.key(), &bad.into()).is_err());
        }
    }
}
