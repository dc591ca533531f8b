//! What a script asks with: whatever is wrong with it is said as JSON.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Failure;

/// Parts of the address.
pub(super) struct Place<T>(pub(super) T);

/// Questions behind the address.
pub(super) struct Looks<T>(pub(super) T);

/// A body.
pub(super) struct Of<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Place<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        // What is no text names nothing.
        read.map(|Path(value)| Self(value)).map_err(|error| Failure::missing(error.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Looks<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        let wrong = |text| Failure(StatusCode::BAD_REQUEST, text);
        read.map(|Query(value)| Self(value)).map_err(|error| wrong(error.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Of<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let read = Json::<T>::from_request(request, state).await;
        read.map(|Json(value)| Self(value)).map_err(|error| {
            // One status for a body that cannot be understood, whatever of it is wrong.
            let status = match error.status() {
                status @ (StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::PAYLOAD_TOO_LARGE) => {
                    status
                }
                _ => StatusCode::BAD_REQUEST,
            };
            Failure(status, error.body_text())
        })
    }
}
