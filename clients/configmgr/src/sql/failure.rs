//! Why the database did not answer, and who must do what.

use tiberius::error::Error;

use crate::Nature;

/// A failed connection or query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) text: String,
    pub(super) nature: Nature,
}

/// What to do about an error of the server, by its number in `sys.messages`, and who must act.
fn known(number: u32) -> Option<(&'static str, Nature)> {
    use Nature::{Credentials, Lasting, Rights, Transient};
    Some(match number {
        18_456 | 18_470 => {
            ("check the login's name and password, or that the account has one", Credentials)
        }
        18_452 => ("the account must have a login here, and its domain be trusted", Credentials),
        4_060 | 916 => (
            "check `database`, and that the login has a user in it with the role db_datareader",
            Rights,
        ),
        229 | 230 => (
            "the role db_datareader is enough: ALTER ROLE db_datareader ADD MEMBER [the account]",
            Rights,
        ),
        208 => ("is this the site database, CM_<site code>?", Lasting),
        207 => ("this version of the site has another column", Lasting),
        978 => ("it is a secondary replica: set `read_only = true`", Lasting),
        // Restoring, recovering, single user, not yet on this replica, moving to another.
        921 | 922 | 924 | 927 | 976 | 979 | 982 | 983 | 988 | 6_005 => {
            ("it is asked again until it is there", Transient)
        }
        // A deadlock's victim, a lock that is not given, a snapshot that is gone.
        1_205 | 1_222 | 3_960 | 3_961 | 3_966 => ("it is read again", Transient),
        SNAPSHOTS_ARE_OFF => ("snapshot isolation was switched off: it is read without", Transient),
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
                Some((remedy, nature)) => {
                    Failure { text: format!("{message} ({code}); {remedy}"), nature }
                }
                None => Failure {
                    text: format!("{message} ({code})"),
                    nature: Nature::passing(token.class() >= FATAL),
                },
            }
        }
        Error::Io { message, .. } => {
            let is_certificate = message.contains("certificate");
            let text = if is_certificate { untrusted(message) } else { message.clone() };
            Failure { text, nature: Nature::passing(!is_certificate) }
        }
        Error::Tls(message) => Failure { text: untrusted(message), nature: Nature::Lasting },
        Error::Protocol(message) if message.contains("ncrypt") => Failure {
            text: format!("{message}; the server has no TLS that this client may use"),
            nature: Nature::Lasting,
        },
        Error::Conversion(_) | Error::Encoding(_) | Error::Utf8 | Error::Utf16 => {
            Failure { text: error.to_string(), nature: Nature::Lasting }
        }
        other => {
            let told = crate::kerberos::of_sql(other);
            let (text, nature) = told.unwrap_or_else(|| (other.to_string(), Nature::Transient));
            Failure { text, nature }
        }
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
