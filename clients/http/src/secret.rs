//! Secrets: from a file that is read again at each use, or given once.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::Error;

/// Where a secret comes from.
#[derive(Debug, Clone)]
pub enum Secret {
    /// Read at each use, so that a renewed secret counts at once. One trailing line break is cut.
    File(PathBuf),
    /// Given, by the environment.
    Given(SecretString),
}

impl Secret {
    /// The secret as it is now.
    ///
    /// # Errors
    /// [`Error::SecretFile`] when the file cannot be read, is empty or holds more than one line.
    pub fn read(&self) -> Result<SecretString, Error> {
        let path = match self {
            Self::Given(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let fail = |detail: String| Error::SecretFile { path: path.clone(), detail };
        let text = cmsync_files::read_secret(path).map_err(|e| fail(e.to_string()))?;
        let text = text.expose_secret();
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(fail("is empty".into()));
        }
        if text.contains(['\n', '\r']) || text.trim() != text {
            return Err(fail(
                "must hold the secret alone, on one line without blanks around it".into(),
            ));
        }
        Ok(SecretString::from(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_line_break_is_cut_and_anything_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Secret::File(path.clone()).read().map(|s| s.expose_secret().to_owned())
        };
        for good in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(read(good).unwrap(), "s3cret");
        }
        for bad in ["", "\n", "a\nb", " s3cret", "s3cret \n"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("secret file") && !error.contains("s3cret"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Secret::File(path).read(), Err(Error::SecretFile { .. })));
    }
}
