//! Takes rows out of an answer while it is still coming.
//!
//! An answer is `{"@odata.context": …, "value": [row, row, …], "@odata.nextLink": …}`, in any order
//! of its keys, and its array may be far larger than memory should be. The splitter follows quotes
//! and brackets only: each row is handed on as the bytes of one JSON object, everything else is
//! kept as the envelope. A keyed answer may be a bare object; then the envelope is the row.

/// Most bytes of one row or of the envelope.
const MAX_PIECE: usize = 8 * 1024 * 1024;

/// Why bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("cut short")]
    CutShort,
    #[error("a row or the frame around the rows is above 8 MiB")]
    TooLarge,
}

#[derive(Default)]
pub(crate) struct Splitter {
    depth: u32,
    in_string: bool,
    escaped: bool,
    in_rows: bool,
    /// Where in the envelope the last string at depth 1 begins: the key before a `[`.
    key_start: usize,
    envelope: Vec<u8>,
    row: Vec<u8>,
}

impl Splitter {
    /// Takes the next piece; calls `row` for each row that is complete.
    pub(crate) fn feed<E: From<SplitError>>(
        &mut self,
        piece: &[u8],
        mut row: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        // Where the bytes not yet copied begin: rows that lie within one piece are never copied.
        let mut from = 0;
        let mut at = 0;
        while let Some(byte) = piece.get(at) {
            if self.in_string {
                at = self.skip_string(piece, at);
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    if self.depth == 1 {
                        self.key_start = self.envelope.len() + at - from;
                    }
                }
                b'{' | b'[' => {
                    if self.depth == 0 && *byte == b'[' {
                        return Err(SplitError::NotAnObject.into());
                    }
                    self.depth += 1;
                    if self.depth == 2 && *byte == b'[' && self.follows_value(piece, from, at) {
                        self.in_rows = true;
                        self.keep(piece, from, at + 1)?;
                        from = at + 1;
                    } else if self.in_rows && self.depth == 3 {
                        from = at;
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.checked_sub(1).ok_or(SplitError::NotAnObject)?;
                    if self.in_rows && self.depth == 2 {
                        let end = piece.get(from..=at).unwrap_or_default();
                        if self.row.is_empty() {
                            row(end)?;
                        } else {
                            self.row.extend_from_slice(end);
                            row(&self.row)?;
                            self.row.clear();
                        }
                        from = at + 1;
                    } else if self.in_rows && self.depth == 1 {
                        self.in_rows = false;
                        from = at;
                    }
                }
                _ if self.depth == 0 && !byte.is_ascii_whitespace() => {
                    return Err(SplitError::NotAnObject.into());
                }
                _ => {}
            }
            at += 1;
        }
        self.keep_rest(piece, from)
    }

    /// Goes to the end of a string, or of the piece.
    fn skip_string(&mut self, piece: &[u8], mut at: usize) -> usize {
        if self.escaped {
            self.escaped = false;
            return at + 1;
        }
        let rest = piece.get(at..).unwrap_or_default();
        match memchr::memchr2(b'"', b'\\', rest) {
            None => piece.len(),
            Some(found) => {
                at += found;
                if piece.get(at) == Some(&b'"') {
                    self.in_string = false;
                } else {
                    self.escaped = true;
                }
                at + 1
            }
        }
    }

    /// Whether the last string of the envelope, up to `at` of this piece, is the key `value`.
    fn follows_value(&mut self, piece: &[u8], from: usize, at: usize) -> bool {
        let new = piece.get(from..at).unwrap_or_default();
        let kept = self.envelope.get(self.key_start..).unwrap_or_default();
        let skip = self.key_start.saturating_sub(self.envelope.len());
        let text: Vec<u8> = kept.iter().chain(new.iter().skip(skip)).copied().collect();
        text.trim_ascii().strip_suffix(b":").is_some_and(|key| key.trim_ascii() == b"\"value\"")
    }

    fn keep<E: From<SplitError>>(&mut self, piece: &[u8], from: usize, to: usize) -> Result<(), E> {
        self.envelope.extend_from_slice(piece.get(from..to).unwrap_or_default());
        if self.envelope.len() > MAX_PIECE { Err(SplitError::TooLarge.into()) } else { Ok(()) }
    }

    fn keep_rest<E: From<SplitError>>(&mut self, piece: &[u8], from: usize) -> Result<(), E> {
        if !self.in_rows {
            return self.keep(piece, from, piece.len());
        }
        if self.depth >= 3 {
            self.row.extend_from_slice(piece.get(from..).unwrap_or_default());
        }
        if self.row.len() > MAX_PIECE { Err(SplitError::TooLarge.into()) } else { Ok(()) }
    }

    /// The envelope, with its rows taken out.
    pub(crate) fn finish(self) -> Result<Vec<u8>, SplitError> {
        if self.envelope.trim_ascii().is_empty() {
            Err(SplitError::NotAnObject)
        } else if self.depth != 0 || self.in_string {
            Err(SplitError::CutShort)
        } else {
            Ok(self.envelope)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn split(text: &[u8], pieces: &[usize]) -> Result<(Value, Vec<Value>), SplitError> {
        let mut splitter = Splitter::default();
        let mut rows = Vec::new();
        let mut rest = text;
        for size in pieces.iter().chain(std::iter::repeat(&usize::MAX)) {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            splitter.feed(piece, |row| {
                rows.push(serde_json::from_slice(row).unwrap());
                Ok::<_, SplitError>(())
            })?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        Ok((
            serde_json::from_slice(&splitter.finish()?).map_err(|_| SplitError::NotAnObject)?,
            rows,
        ))
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z\\\\\"{}\\[\\]:, é]{0,8}".prop_map(Value::from),
            Just(Value::from("value")),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::hash_map("[a-c\"\\\\]{1,2}|value", inner, 0..3)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn rows_and_envelope_come_out_as_they_went_in_however_the_bytes_are_cut(
            rows in proptest::collection::vec(proptest::collection::hash_map("[a-z]{1,5}", value(), 0..4), 0..6),
            before in value(), after in value(),
            pieces in proptest::collection::vec(1..9_usize, 0..200),
        ) {
            let rows: Vec<Value> = rows.into_iter().map(|m| Value::Object(m.into_iter().collect())).collect();
            let text = format!(
                "{{\"@odata.context\": {before},\n \"value\" : {} ,\"@odata.nextLink\":{after}}} ",
                serde_json::to_string(&rows).unwrap()
            );
            let (envelope, found) = split(text.as_bytes(), &pieces).unwrap();
            prop_assert_eq!(found, rows);
            prop_assert_eq!(envelope, json!({"@odata.context": before, "value": [], "@odata.nextLink": after}));
        }

        #[test]
        fn an_answer_cut_anywhere_is_never_taken_for_a_whole_one(cut in 0..74_usize) {
            let text = br#"{"@odata.context":"x#SMS_Site","value":[{"A":1},{"A":"]}"},{"A":null}]}"#;
            prop_assume!(cut < text.len());
            prop_assert!(split(&text[..cut], &[]).is_err());
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["<!DOCTYPE html>", "[1,2]", "", "  ", "}", "null"] {
            assert_eq!(split(text.as_bytes(), &[]), Err(SplitError::NotAnObject), "{text}");
        }
        let (envelope, rows) = split(br#"{"CollectionID":"A","value":"x"}"#, &[]).unwrap();
        assert!(rows.is_empty());
        assert_eq!(envelope, json!({"CollectionID": "A", "value": "x"}));
    }
}
