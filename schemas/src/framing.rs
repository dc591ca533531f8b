//! From a message to bytes and back.
//!
//! Layout (Avro single-object encoding): `C3 01`, the schema's Rabin fingerprint (8 bytes, little
//! endian), the datum. What carries our own fingerprint is decoded straight into its type; what an
//! older version wrote is resolved through its schema, which is kept in `released`; any other
//! fingerprint was written by a newer version and is left alone.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Schema, from_value};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: [u8; 2] = [0xC3, 0x01];
const HEADER: usize = 10;

/// Why bytes are no message of ours.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not in a framing that we know: nobody's message, or cut short.
    #[error("not a framed message ({0} bytes)")]
    UnknownFraming(usize),
    /// Well framed, by a schema that this version does not know.
    #[error("written with schema {0:016x}, which this version does not know: upgrade this copy")]
    UnknownFingerprint(u64),
    /// The schema is ours and the rest is not.
    #[error("damaged message: {0}")]
    Damaged(String),
}

/// The fingerprint of a schema's text; `None` where it is no Avro schema.
#[must_use]
pub fn fingerprint(avsc: &str) -> Option<u64> {
    let schema = Schema::parse_str(avsc).ok()?;
    let digest = schema.fingerprint::<Rabin>().bytes;
    Some(u64::from_le_bytes(digest.try_into().ok()?))
}

/// Takes a framed message apart: fingerprint and datum.
#[must_use]
pub fn unframed(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, datum) = bytes.split_at_checked(HEADER)?;
    let fingerprint = header.strip_prefix(&MAGIC)?;
    Some((u64::from_le_bytes(fingerprint.try_into().ok()?), datum))
}

/// Frames a datum.
#[must_use]
pub fn framed(fingerprint: u64, datum: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &fingerprint.to_le_bytes(), datum].concat()
}

/// Encodes and decodes one type. Made once; the schema is parsed then.
pub struct Codec<T> {
    writer: GenericDatumWriter<'static>,
    reader: GenericDatumReader<'static>,
    fingerprint: u64,
    header: [u8; HEADER],
    schema: &'static Schema,
    last_size: AtomicUsize,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    /// A codec for `avsc`, the text of a schema file of this crate.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "schemas are part of the program and a test parses each"
    )]
    pub(crate) fn new(avsc: &str) -> Self {
        let schema = Schema::parse_str(avsc).expect("schema files are valid");
        // Codecs live as long as the process; a leaked schema lets writer and reader borrow it.
        let schema: &'static Schema = Box::leak(Box::new(schema));
        let digest = schema.fingerprint::<Rabin>().bytes;
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&MAGIC);
        header[2..].copy_from_slice(&digest);
        let fingerprint = u64::from_le_bytes(digest.try_into().unwrap_or_default());
        let writer = GenericDatumWriter::builder(schema).build().expect("schema resolves");
        let reader = GenericDatumReader::builder(schema).build().expect("schema resolves");
        Self {
            writer,
            reader,
            fingerprint,
            header,
            schema,
            last_size: AtomicUsize::new(0),
            of: PhantomData,
        }
    }

    /// Encodes a message.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "every type serializes with its own schema, which a test shows"
    )]
    pub fn encode(&self, message: &T) -> Bytes {
        // Messages of one kind are of like size: with the last one's, the buffer rarely grows.
        let expected = self.last_size.load(Ordering::Relaxed);
        let mut bytes = Vec::with_capacity(expected + expected / 8 + 256);
        bytes.extend_from_slice(&self.header);
        self.writer.write_ser(&mut bytes, message).expect("type matches its schema");
        self.last_size.store(bytes.len(), Ordering::Relaxed);
        Bytes::from(bytes)
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// [`DecodeError`] says whether to set it aside or to wait for a newer version.
    pub fn decode(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        let (fingerprint, mut datum) =
            unframed(bytes).ok_or(DecodeError::UnknownFraming(bytes.len()))?;
        let damaged = |e: apache_avro::Error| DecodeError::Damaged(e.to_string());
        if fingerprint == self.fingerprint {
            return self.reader.read_deser(&mut datum).map_err(damaged);
        }
        let older = crate::versions::find(fingerprint)
            .ok_or(DecodeError::UnknownFingerprint(fingerprint))?;
        let reader = GenericDatumReader::builder(&older)
            .reader_schema(self.schema)
            .build()
            .map_err(damaged)?;
        from_value(&reader.read_value(&mut datum).map_err(damaged)?).map_err(damaged)
    }
}
