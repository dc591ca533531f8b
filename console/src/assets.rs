//! What pages are made of beside their text: all of it is in the program.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $kind:expr,)*) => {
        [$(Asset { name: $name, kind: $kind, bytes: include_bytes!(concat!("../assets/", $name)) },)*]
    };
}

static ASSETS: [Asset; 11] = assets![
    "console.css": CSS,
    "console.js": JAVASCRIPT,
    "icon.svg": "image/svg+xml",
    "htmx.min.js": JAVASCRIPT,
    "htmx.LICENSE": TEXT,
    "htmx-sse.min.js": JAVASCRIPT,
    "htmx-sse.LICENSE": TEXT,
    "plots.js": JAVASCRIPT,
    "uplot.min.js": JAVASCRIPT,
    "uplot.min.css": CSS,
    "uplot.LICENSE": TEXT,
];

pub(crate) fn router() -> Router {
    Router::new().route("/assets/{name}", get(asset))
}

/// Asked again by its tag each time: another version of the program has another one.
async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let mut hasher = DefaultHasher::new();
    asset.bytes.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
    let about = [
        (header::CONTENT_TYPE, asset.kind.to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::ETAG, tag),
    ];
    match is_known {
        true => (StatusCode::NOT_MODIFIED, about).into_response(),
        false => (about, asset.bytes).into_response(),
    }
}
