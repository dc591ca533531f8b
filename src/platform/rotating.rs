//! A log in files of bounded size: the newest, and a few older ones beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes of a file.
const FULL: u64 = 16 * 1024 * 1024;
/// Older files that are kept.
const OLDER: u32 = 7;

/// Writes into a file until it is full, and then into a new one. Where the full one cannot be moved, as
/// somebody else holds it open, it is begun anew.
pub(crate) struct Rotating {
    path: PathBuf,
    file: File,
    bytes: u64,
    full: u64,
}

/// To write anywhere in it: what is opened to append cannot be cut on Windows.
fn begin(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

impl Rotating {
    /// Goes on with the file, made with its directory where it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            cmsync_files::create_directory(directory)?;
        }
        let mut file = begin(path)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self { path: path.to_owned(), file, bytes, full: FULL })
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..OLDER).rev() {
            // A gap in the row does no harm.
            drop(std::fs::rename(self.older(number), self.older(number + 1)));
        }
        match std::fs::rename(&self.path, self.older(1)) {
            Ok(()) => self.file = begin(&self.path)?,
            Err(_) => {
                self.file.set_len(0)?;
                self.file.rewind()?;
            }
        }
        self.bytes = 0;
        Ok(())
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes >= self.full {
            self.rotate()?;
        }
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_in_so_many_files_of_bounded_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log").join("cmsync.log");
        let mut log = Rotating { full: 100, ..Rotating::open(&path).unwrap() };
        for number in 0..1_000 {
            log.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        drop(log);
        let files: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(files.len(), 1 + OLDER as usize);
        assert!(files.into_iter().all(|file| file.unwrap().metadata().unwrap().len() < 120));
        let mut log = Rotating::open(&path).unwrap();
        log.write_all(b"another start\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("line 999\n") && text.ends_with("another start\n"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_moved_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cmsync.log");
        // Nothing can be put in the place of a directory that is not empty.
        for number in 1..=OLDER {
            std::fs::create_dir_all(directory.path().join(format!("cmsync.log.{number}/full")))
                .unwrap();
        }
        let mut log = Rotating { full: 10, ..Rotating::open(&path).unwrap() };
        for number in 0..100 {
            log.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("line 99") && text.len() < 40, "{text}");
    }
}
