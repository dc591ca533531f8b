//! Names of topics and keys, and the layout of the producer's state.

/// Messages of a change stay below this, so that Kafka's default limit of 1 MB fits them.
pub const MAX_MESSAGE_BYTES: usize = 900_000;
/// Devices that one change carries, at most.
pub const DEVICES_PER_MESSAGE: usize = 1_000;
/// Partitions of each topic unless the configuration says otherwise.
pub const DEFAULT_PARTITIONS: u32 = 12;

/// The producer's state, one partition per owner.
pub const STATE: &str = "cmsync.state";
/// What people asked for.
pub const CONTROL: &str = "cmsync.control";
/// How the stages are.
pub const STATUS: &str = "cmsync.status";

/// What happened, for people.
pub const ACTIVITY: &str = "cmsync.activity";

/// The group that owns [`STATE`].
pub const PRODUCER: &str = "cmsync-producer";
/// The group that reads changes.
pub const TRANSFORMER: &str = "cmsync-transformer";
/// The group that reads records.
pub const UPLOADER: &str = "cmsync-uploader";

/// The group whose only member writes a connection's computer groups.
pub const GROUPS: &str = "cmsync-groups";
/// The group whose only member verifies a connection's workspace.
pub const VERIFIER: &str = "cmsync-verifier";

/// Changes of a connection.
#[must_use]
pub fn changes(connection: &str) -> String {
    format!("cmsync.changes.{connection}")
}

/// Records of a connection.
#[must_use]
pub fn records(connection: &str) -> String {
    format!("cmsync.records.{connection}")
}

/// Computer groups of a connection.
#[must_use]
pub fn groups(connection: &str) -> String {
    format!("cmsync.groups.{connection}")
}

/// Dead letters of a connection.
#[must_use]
pub fn dead_letters(connection: &str) -> String {
    format!("cmsync.dead-letters.{connection}")
}

/// Key of a change and of a record batch: keeps one collection in one partition.
#[must_use]
pub fn collection_key(connection: &str, collection: &str) -> String {
    format!("{connection}/{collection}")
}

/// Key of a control message.
#[must_use]
pub fn control_key(connection: &str, subject: crate::Subject, item: &str) -> String {
    format!("{connection}/{subject:?}/{item}")
}

/// An entry of the producer's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateKey {
    /// The connection itself.
    Connection,
    /// A chunk of its devices: `ResourceID >> 12`.
    Devices(u32),
    /// A collection.
    Collection(String),
    /// The roaring bitmap of a collection's members, or a part of it: parts are disjoint, from 0.
    Members(String, u32),
}

impl StateKey {
    /// The key as it is stored: `<connection>/<kind>[/<item>]`.
    #[must_use]
    pub fn encode(&self, connection: &str) -> String {
        match self {
            Self::Connection => format!("{connection}/a"),
            Self::Devices(chunk) => format!("{connection}/d/{chunk:08x}"),
            Self::Collection(id) => format!("{connection}/c/{id}"),
            Self::Members(id, 0) => format!("{connection}/m/{id}"),
            Self::Members(id, part) => format!("{connection}/m/{id}/{part:04x}"),
        }
    }

    /// What the keys of a connection's collections begin with, and of no other entry.
    #[must_use]
    pub fn collections_of(connection: &str) -> String {
        format!("{connection}/c/")
    }

    /// The same of its devices.
    #[must_use]
    pub fn devices_of(connection: &str) -> String {
        format!("{connection}/d/")
    }

    /// The same of the members of its collections.
    #[must_use]
    pub fn members_of(connection: &str) -> String {
        format!("{connection}/m/")
    }

    /// The connection and the entry of a stored key; `None` for another version's.
    #[must_use]
    pub fn decode(key: &[u8]) -> Option<(&str, Self)> {
        let mut parts = std::str::from_utf8(key).ok()?.splitn(3, '/');
        let (connection, kind, item) = (parts.next()?, parts.next()?, parts.next());
        let key = match (kind, item) {
            ("a", None) => Self::Connection,
            ("d", Some(item)) => Self::Devices(u32::from_str_radix(item, 16).ok()?),
            ("c", Some(item)) => Self::Collection(item.to_owned()),
            ("m", Some(item)) => match item.split_once('/') {
                None => Self::Members(item.to_owned(), 0),
                Some((id, part)) => {
                    Self::Members(id.to_owned(), u32::from_str_radix(part, 16).ok()?)
                }
            },
            _ => return None,
        };
        Some((connection, key))
    }
}

/// Instead of an order's item: every one of the connection.
pub const ALL: &str = "*";

/// Item of an order about groups: look at the workspace now.
pub const GROUPS_LOOK: &str = "look";
/// Item of an order about groups: keep none for the time being.
pub const GROUPS_OFF: &str = "off";
