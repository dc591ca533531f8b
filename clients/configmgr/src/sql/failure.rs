//! Why the database did not answer, and who must do what.

use tiberius::error::Error;

/// A failed connection or query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) text: String,
    /// Whether it may go by itself.
    pub(super) is_transient: bool,
}

/// What to do about an error of the server, by its number in `sys.messages`, and whether it may go by
/// itself.
fn known(number: u32) -> Option<(&'static str, bool)> {
    Some(match number {
        18_456 | 18_470 => {
            ("check the login's name and password, or that the account has one", false)
        }
        18_452 => ("the account must have a login here, and its domain be trusted", false),
        4_060 | 916 => (
            "check `database`, and that the login has a user in it with the role db_datareader",
            false,
        ),
        229 | 230 => (
            "the role db_datareader is enough: ALTER ROLE db_datareader ADD MEMBER [the account]",
            false,
        ),
        208 => ("is this the site database, CM_<site code>?", false),
        207 => ("this version of the site has another column", false),
        978 => ("it is a secondary replica: set `read_only = true`", false),
        // Restoring, recovering, single user, not yet on this replica, moving to another.
        921 | 922 | 924 | 927 | 976 | 979 | 982 | 983 | 988 | 6_005 => {
            ("it is asked again until it is there", true)
        }
        // A deadlock's victim, a lock that is not given, a snapshot that is gone.
        1_205 | 1_222 | 3_960 | 3_961 | 3_966 => ("it is read again", true),
        SNAPSHOTS_ARE_OFF => ("snapshot isolation was switched off: it is read without", true),
        _ => return None,
    })
}

/// Snapshot isolation is not allowed in the database.
pub(super) const SNAPSHOTS_ARE_OFF: u32 = 3_952;
/// Errors of this class and above end the connection.
const FATAL: u8 = 20;

/// An error of the client's library, told.
pub(super) fn failure(error: &Error) -> Failure {
    match error {
        Error::Server(token) => {
            let (code, message) = (token.code(), token.message());
            match known(code) {
                Some((remedy, is_transient)) => {
                    Failure { text: format!("{message} ({code}); {remedy}"), is_transient }
                }
                None => Failure {
                    text: format!("{message} ({code})"),
                    is_transient: token.class() >= FATAL,
                },
            }
        }
        Error::Io { message, .. } => {
            let is_certificate = message.contains("certificate");
            let text = if is_certificate { untrusted(message) } else { message.clone() };
            Failure { text, is_transient: !is_certificate }
        }
        Error::Tls(message) => Failure { text: untrusted(message), is_transient: false },
        Error::Protocol(message) if message.contains("ncrypt") => Failure {
            text: format!("{message}; the server has no TLS that this client may use"),
            is_transient: false,
        },
        Error::Conversion(_) | Error::Encoding(_) | Error::Utf8 | Error::Utf16 => {
            Failure { text: error.to_string(), is_transient: false }
        }
        #[cfg(feature = "kerberos")]
        Error::Gssapi(message) => {
            let text = crate::kerberos::remedy(message, "MSSQLSvc/<server>:<port>");
            Failure { text, is_transient: message.contains("contact any KDC") }
        }
        other => Failure { text: other.to_string(), is_transient: true },
    }
}

fn untrusted(message: &str) -> String {
    // The library goes on to say how not to verify it.
    let message = message.split("To connect anyway").next().unwrap_or_default().trim();
    format!(
        "its certificate is not trusted: {message}; put the certificate of its authority into \
         `ca_file`, and name the server as its certificate does"
    )
}
