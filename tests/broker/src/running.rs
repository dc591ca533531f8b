//! A process that ends with its owner, also when that one is killed.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process under a shell that ends it when its pipe closes.
pub(crate) struct Running {
    shell: Child,
    _pipe: ChildStdin,
    pid: u32,
    log: PathBuf,
}

impl Running {
    /// Starts `command`, with its log and the file of its id beside `place`.
    pub(crate) fn start(command: &Command, place: &Path) -> io::Result<Self> {
        let path = place.with_extension("log");
        let log = std::fs::File::create(&path)?;
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg("\"$@\" </dev/null & echo $! >\"$PID_FILE\"; cat >/dev/null; kill -9 $!")
            .arg("sh")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let pid_file = place.with_extension("pid");
        drop(std::fs::remove_file(&pid_file));
        shell.env("PID_FILE", &pid_file).stdin(Stdio::piped());
        shell.stdout(log.try_clone()?).stderr(log);
        let mut shell = shell.spawn()?;
        let pipe = shell.stdin.take().ok_or_else(|| io::Error::other("no pipe"))?;
        let started = Instant::now();
        let pid = loop {
            let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
            match text.trim().parse() {
                Ok(pid) if text.ends_with('\n') => break pid,
                _ if started.elapsed() > PATIENCE => return Err(io::Error::other("no process")),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        Ok(Self { shell, _pipe: pipe, pid, log: path })
    }

    /// Waits until the process takes connections; an error with its log where it does not.
    pub(crate) fn until_up(&self, port: u16) -> io::Result<()> {
        let started = Instant::now();
        let is_there = || Path::new(&format!("/proc/{}", self.pid)).exists();
        // Another program's listener is none of this one's.
        while TcpStream::connect(("127.0.0.1", port)).is_err() || !is_there() {
            if started.elapsed() > PATIENCE || !is_there() {
                let text = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "{} does not start: {text}",
                    self.log.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// As `kill -9` does.
impl Drop for Running {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-9", &self.pid.to_string()]).status());
        drop(self.shell.kill());
        drop(self.shell.wait());
    }
}
