//! Lists as CSV (RFC 4180), written while they are sent.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;

/// Bytes that are sent at a time.
const PIECE: usize = 64 * 1024;

/// A cell: quoted, and so that no spreadsheet takes a name for a formula.
fn cell(text: &str, out: &mut String) {
    out.push('"');
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        out.push('\'');
    }
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

fn line(cells: &[String], out: &mut String) {
    for (index, text) in cells.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        cell(text, out);
    }
    out.push_str("\r\n");
}

/// Pieces of the file.
fn pieces(
    mut rows: impl Iterator<Item = Vec<String>> + Send + 'static,
) -> impl Iterator<Item = Bytes> + Send + 'static {
    std::iter::from_fn(move || {
        let mut piece = String::new();
        while piece.len() < PIECE {
            match rows.next() {
                Some(row) => line(&row, &mut piece),
                None => break,
            }
        }
        (!piece.is_empty()).then(|| piece.into())
    })
}

/// The file, under a name of plain letters.
pub(crate) fn file(
    name: &str,
    titles: &[&str],
    rows: impl Iterator<Item = Vec<String>> + Send + 'static,
) -> Response {
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // The mark tells spreadsheets that it is UTF-8.
    let mark = std::iter::once(Bytes::from_static(b"\xEF\xBB\xBF"));
    let all = mark.chain(pieces(std::iter::once(titles).chain(rows)));
    let stream = tokio_stream::iter(all).map(Ok::<_, Infallible>);
    let about = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
    ];
    (about, Body::from_stream(yielding(stream))).into_response()
}

/// Lets others in between two pieces.
fn yielding<T>(stream: impl Stream<Item = T> + Unpin) -> impl Stream<Item = T> {
    stream.then(async |piece| {
        tokio::task::yield_now().await;
        piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        let mut out = String::new();
        let cells = ["a,b", "say \"x\"", "=HYPERLINK(\"x\")", "-1", "ü\nx"].map(ToOwned::to_owned);
        line(&cells, &mut out);
        let wanted = "\"a,b\",\"say \"\"x\"\"\",\"'=HYPERLINK(\"\"x\"\")\",\"'-1\",\"ü\nx\"\r\n";
        assert_eq!(out, wanted);
    }

    #[test]
    fn a_large_list_comes_in_pieces_and_whole() {
        let rows = (0..50_000).map(|n| vec![n.to_string()]);
        let all: Vec<Bytes> = pieces(rows).collect();
        assert!(all.len() > 5 && all.iter().all(|piece| piece.len() < 2 * PIECE));
        let text = String::from_utf8(all.concat()).unwrap();
        assert_eq!(text.lines().count(), 50_000);
        assert!(text.ends_with("\"49999\"\r\n"));
    }
}
