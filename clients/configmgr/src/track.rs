//! What a site says of members that changed, where it keeps track of them.

use std::collections::HashMap;

use async_trait::async_trait;

use crate::error::Error;
use crate::site::CollectionsSink;

/// How a membership changed, all changes since a version taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It was not there and is.
    Added,
    /// It was there and is not.
    Removed,
    /// It was there before and is.
    Otherwise,
}

/// Where a site's track of changes stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// The version of now: what is asked for at the next look.
    pub version: i64,
    /// Members that changed since the version that was asked for, by collection: `ResourceID`s. `None`
    /// where nobody can tell: no version was asked for, it is too old, or the changes are too many.
    pub since: Option<HashMap<String, Vec<(i64, Changed)>>>,
}

/// A site that keeps track of changed memberships. It makes reads shorter and is never believed alone.
#[async_trait]
pub trait Tracked: Send + Sync {
    /// Where the track stands, and what changed since a version.
    ///
    /// # Errors
    /// When there is no track, or the account may not see it.
    async fn track(&self, since: Option<i64>) -> Result<Track, Error>;

    /// Rows of some members of a collection; those that are not there are missing.
    ///
    /// # Errors
    /// When the rows did not come whole.
    async fn some_members(
        &self,
        collection: &str,
        ids: &[i64],
        sink: &mut dyn CollectionsSink,
    ) -> Result<(), Error>;
}
