//! Logs to standard error, or where the host wants them, as text or JSON. Whoever reads them may stop reading, and their disk may be
//! full: lines are written by a thread of their own and dropped, counted, when it cannot keep up. The
//! last ones are kept for the support bundle.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;
use crate::platform::IS_WINDOWS;

/// Lines that wait for whoever reads them, at most.
const MOST_WAITING: usize = 8_192;
/// Lines that are kept.
const MOST_KEPT: usize = 2_000;
/// Bytes of a line that are kept.
const LONGEST_KEPT: usize = 4_096;

/// The last lines.
#[derive(Clone, Default)]
pub(crate) struct Recent(Arc<Mutex<VecDeque<String>>>);

impl Recent {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn keep(&self, line: &[u8]) {
        let line = line.get(..LONGEST_KEPT).unwrap_or(line);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == MOST_KEPT {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
    }
}

/// Logging while it goes on; what waits is written when this is dropped.
pub(crate) struct Logging {
    pub(crate) recent: Recent,
    /// Lines that nobody took in time.
    pub(crate) dropped: ErrorCounter,
    _writer: WorkerGuard,
}

#[derive(Clone)]
struct Tee {
    recent: Recent,
    writer: NonBlocking,
}

impl io::Write for Tee {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.recent.keep(line);
        self.writer.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<'a> MakeWriter<'a> for Tee {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Whether a text is a level or a filter. A word alone that is no level would be taken for a module, which
/// silences all others.
pub(crate) fn is_level(text: &str) -> bool {
    let is_fine = |part: &str| {
        part.contains(['=', '['])
            || part.trim().parse::<tracing::level_filters::LevelFilter>().is_ok()
    };
    EnvFilter::try_new(text).is_ok() && text.split(',').all(is_fine)
}

/// Starts logging, to standard error where no place is given. A filter that cannot be read falls back to `info`.
pub(crate) fn start(
    format: LogFormat,
    level: &str,
    to: Option<Box<dyn io::Write + Send>>,
) -> Logging {
    // Terminals of Windows show colours to those alone who ask them to.
    let is_terminal = to.is_none() && io::stderr().is_terminal() && !IS_WINDOWS;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MOST_WAITING)
        .lossy(true)
        .thread_name("log")
        .finish(to.unwrap_or_else(|| Box::new(io::stderr())));
    let (recent, dropped) = (Recent::default(), writer.error_counter());
    let tee = Tee { recent: recent.clone(), writer };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    // Who signed in and who ordered what is kept whatever else is not.
    let filter = match "audit=info".parse() {
        Ok(audit) => filter.add_directive(audit),
        Err(_) => filter,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(tee);
    match format {
        LogFormat::Text => builder.with_ansi(is_terminal).init(),
        LogFormat::Json => builder.json().init(),
    }
    Logging { recent, dropped, _writer: guard }
}
