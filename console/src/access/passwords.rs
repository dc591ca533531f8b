//! Passwords and tokens: a file of users with their roles and hashes, read again when it changes. Passwords
//! are tried one at a time, since each try takes 19 MiB and some milliseconds; a token is 256 random bits,
//! so that a fast hash keeps it as safe.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use super::person::Role;

/// Characters of a password, at least: a guesser has 30 tries of a name in a quarter of an hour, and may have the
/// file.
const SHORTEST: usize = 12;
/// Tries that wait for their turn.
const WAITING: usize = 16;
/// Bytes of the file, at most.
const MAX_FILE: u64 = 1024 * 1024;

/// Somebody with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// What they call themselves.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The password's hash, argon2id in PHC form; or a token's, see [`User::with_token`].
    pub hash: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("role", &self.role).finish()
    }
}

/// As a line of the file: `name:role:hash`.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.name, self.role.text(), self.hash)
    }
}

/// What a token's hash begins with; SHA-256 in hexadecimal digits follows.
const TOKEN: &str = "token$sha256$";

fn token_hash(token: &str) -> String {
    let digest = digest(&SHA256, token.as_bytes());
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("{TOKEN}{}", digits.collect::<String>())
}

fn named(name: &str) -> Result<(), String> {
    let is_fine = |c: char| c.is_alphanumeric() || "._-@\\ ".contains(c);
    if name.is_empty() || name.len() > 64 || name.trim() != name || !name.chars().all(is_fine) {
        return Err("a name has up to 64 letters, digits and . _ - @ \\".into());
    }
    Ok(())
}

fn is_hash(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix(TOKEN) {
        return digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    let parsed = PasswordHash::new(text);
    parsed.is_ok_and(|parsed| parsed.algorithm.as_str() == "argon2id" && parsed.hash.is_some())
}

impl User {
    /// A user with a password.
    ///
    /// # Errors
    /// When the name cannot stand in the file, the password is short, or the system gives no random bytes.
    pub fn new(name: &str, role: Role, password: &str) -> Result<Self, String> {
        named(name)?;
        if password.chars().count() < SHORTEST {
            return Err(format!("a password has at least {SHORTEST} characters"));
        }
        let hash = Argon2::default().hash_password(password.as_bytes());
        let hash = hash.map_err(|error| error.to_string())?.to_string();
        Ok(Self { name: name.to_owned(), role, hash })
    }

    /// A script with a token, and the token, which is shown once.
    ///
    /// # Errors
    /// When the name cannot stand in the file.
    pub fn with_token(name: &str, role: Role) -> Result<(Self, SecretString), String> {
        named(name)?;
        let token = cmsync_control::token();
        let hash = token_hash(&token);
        Ok((Self { name: name.to_owned(), role, hash }, token.into()))
    }

    /// Whether it is a script's.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.hash.starts_with(TOKEN)
    }

    /// The password in short: another one's differs.
    pub(crate) fn print(&self) -> String {
        cmsync_control::print_of(self.hash.as_bytes())
    }

    fn of_line(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once(':')?;
        let (role, hash) = rest.split_once(':')?;
        let role = [Role::Reader, Role::Operator].into_iter().find(|one| one.text() == role)?;
        (is_hash(hash) && !name.is_empty()).then(|| Self {
            name: name.into(),
            role,
            hash: hash.into(),
        })
    }
}

/// The users of a file; none where it is not there yet.
///
/// # Errors
/// When it cannot be read, or a line is none.
pub fn users(file: &Path) -> Result<Vec<User>, String> {
    let shown = file.display();
    let size = match std::fs::metadata(file) {
        Ok(about) => about.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("`{shown}`: {error}")),
    };
    if size > MAX_FILE {
        return Err(format!("`{shown}` is too large"));
    }
    let text = cmsync_files::read_secret(file).map_err(|error| format!("`{shown}`: {error}"))?;
    let lines = (1..)
        .zip(text.expose_secret().lines())
        .filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#'));
    lines
        .map(|(number, line)| {
            let wrong = || {
                format!(
                    "`{shown}`, line {number}: must be name:role:hash with the hash of a password or a \
                     token, as `cmsync console password` and `cmsync console token` write it"
                )
            };
            User::of_line(line.trim_end()).ok_or_else(wrong)
        })
        .collect()
}

/// When a file was written, and how long it is.
type Stamp = (SystemTime, u64);

/// The users that sign in with a password.
pub(crate) struct Passwords {
    file: Option<PathBuf>,
    known: Mutex<(Option<Stamp>, Vec<User>)>,
    turn: Semaphore,
    waiting: Semaphore,
}

/// Nobody's password, so that an unknown name takes as long as a known one.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    User::new("nobody", Role::Reader, "nobody of all").map(|user| user.hash).unwrap_or_default()
});

fn is_right(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

impl Passwords {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        let (turn, waiting) = (Semaphore::new(1), Semaphore::new(WAITING));
        Self { file, known: Mutex::default(), turn, waiting }
    }

    /// The user of this name, as the file has it now.
    pub(crate) fn find(&self, name: &str) -> Option<User> {
        self.first(|user| user.name.eq_ignore_ascii_case(name))
    }

    /// The script whose token this is.
    pub(crate) fn of_token(&self, token: &str) -> Option<User> {
        let hash = token_hash(token);
        self.first(|user| verify_slices_are_equal(user.hash.as_bytes(), hash.as_bytes()).is_ok())
    }

    fn first(&self, is_wanted: impl Fn(&User) -> bool) -> Option<User> {
        let file = self.file.as_ref()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let about = std::fs::metadata(file).ok();
        let stamp = about.and_then(|about| Some((about.modified().ok()?, about.len())));
        if stamp.is_none() || stamp != known.0 {
            let read = users(file).unwrap_or_else(|error| {
                tracing::error!(error, "nobody signs in with a password");
                Vec::new()
            });
            *known = (stamp, read);
        }
        known.1.iter().find(|user| is_wanted(user)).cloned()
    }

    /// Whether anybody may have one.
    pub(crate) fn are_used(&self) -> bool {
        self.file.is_some()
    }

    /// The user whose password this is; `Err` where too many are tried at once.
    pub(crate) async fn check(&self, name: &str, password: String) -> Result<Option<User>, ()> {
        let _place = self.waiting.try_acquire().map_err(drop)?;
        let _turn = self.turn.acquire().await.map_err(drop)?;
        let user = self.find(name);
        let hash = user.as_ref().map(|user| user.hash.clone());
        let trying = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => is_right(&password, &hash),
            None => {
                is_right(&password, &NOBODY);
                false
            }
        });
        let is_right = trying.await.unwrap_or(false);
        Ok(user.filter(|_| is_right))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn written(users: &[User]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let lines: Vec<String> = users.iter().map(ToString::to_string).collect();
        std::fs::write(&path, format!("# users\n\n{}\n", lines.join("\n"))).unwrap();
        (directory, path)
    }

    #[tokio::test]
    async fn a_password_is_right_for_its_user_alone_as_long_as_the_file_has_both() {
        let alice = User::new("alice", Role::Operator, "correct horse").unwrap();
        let bob = User::new("CONTOSO\\bob", Role::Reader, "battery staple").unwrap();
        let (_directory, path) = written(&[alice, bob.clone()]);
        let passwords = Passwords::new(Some(path.clone()));
        let check = async |name, password: &str| {
            let found = passwords.check(name, password.to_owned()).await.unwrap();
            found.map(|user| (user.name, user.role))
        };
        assert_eq!(check("ALICE", "correct horse").await, Some(("alice".into(), Role::Operator)));
        assert!(check("contoso\\bob", "battery staple").await.is_some());
        for (name, password) in
            [("alice", "battery staple"), ("alice", ""), ("eve", "nobody"), ("", "")]
        {
            assert_eq!(check(name, password).await, None, "{name}");
        }
        std::fs::write(&path, bob.to_string()).unwrap();
        assert_eq!(check("alice", "correct horse").await, None);
        assert!(passwords.find("alice").is_none());
        assert_eq!(passwords.find("contoso\\BOB").map(|user| user.role), Some(Role::Reader));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(check("contoso\\bob", "battery staple").await, None);
    }

    #[tokio::test]
    async fn a_token_is_its_scripts_alone_and_no_password() {
        let (script, token) = User::with_token("backup", Role::Reader).unwrap();
        let (other, _) = User::with_token("other", Role::Operator).unwrap();
        let (_directory, path) = written(&[other, script.clone()]);
        let passwords = Passwords::new(Some(path.clone()));
        let token = token.expose_secret();
        assert_eq!(token.len(), 64);
        assert_eq!(passwords.of_token(token), Some(script.clone()));
        assert!(script.has_token() && !script.to_string().contains(token));
        for wrong in ["", "x", &script.hash, &token.to_uppercase(), &token.replace('a', "b")] {
            let is_same = *wrong == *token;
            assert!(is_same || passwords.of_token(wrong).is_none(), "{wrong}");
        }
        assert_eq!(passwords.check("backup", token.to_owned()).await, Ok(None));
        std::fs::write(&path, "").unwrap();
        assert_eq!(passwords.of_token(token), None);
        assert!(User::with_token("a:b", Role::Reader).is_err());
        std::fs::write(&path, "a:reader:token$sha256$12").unwrap();
        assert!(users(&path).is_err());
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number() {
        let good = User::new("alice", Role::Operator, "correct horse").unwrap();
        let (_directory, path) = written(std::slice::from_ref(&good));
        assert_eq!(users(&path).unwrap(), std::slice::from_ref(&good));
        let other = good.to_string().replace("argon2id", "argon2i");
        for bad in
            ["alice", "alice:operator", "alice:admin:$argon2id$x", "bob:reader:hunter2", &other]
        {
            std::fs::write(&path, format!("{good}\n{bad}\n")).unwrap();
            let error = users(&path).unwrap_err();
            assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
        }
        for name in ["", " x", "a:b", "a\nb", &"x".repeat(65)] {
            assert!(User::new(name, Role::Reader, "correct horse").is_err(), "{name}");
        }
        let short = User::new("alice", Role::Reader, "elf letters").unwrap_err();
        assert!(short.contains("at least 12"), "{short}");
        assert!(!format!("{good:?}").contains("argon2"));
        assert_ne!(
            User::new("alice", Role::Operator, "correct horse").unwrap().print(),
            good.print()
        );
        assert_eq!(users(&path.with_extension("none")), Ok(Vec::new()));
    }
}
