//! How a command reaches the running process: one question and one answer over a Unix socket in the
//! queue's directory, each one line of JSON. Whoever may use the directory may ask.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::views::{Answer, Question};

/// Bytes of a question, at most.
const MAX_QUESTION: u64 = 64 * 1024;
/// Bytes of an answer, at most: the members of the largest collection.
const MAX_ANSWER: u64 = 512 * 1024 * 1024;

/// Where the socket of a queue's directory is.
#[must_use]
pub fn socket_path(directory: &Path) -> PathBuf {
    directory.join("cmsync.sock")
}

/// Answers questions until `shutdown`.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(directory: &Path, desk: Desk, shutdown: CancellationToken) -> io::Result<()> {
    let path = socket_path(directory);
    // The queue's lock says that no other process lives: what is there was left by a killed one.
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(&path)?;
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted?.0,
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &desk).await {
                tracing::debug!(%error, "a command went away");
            }
        });
    }
    std::fs::remove_file(&path)
}

async fn converse(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(MAX_QUESTION)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Question>(&line) {
        Ok(question) => match desk.answer(question).await {
            Ok(answer) => answer,
            Err(error) => Answer::Refused(error.to_string()),
        },
        Err(error) => Answer::Refused(format!("not a question that this version knows: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    write.write_all(&text).await
}

/// Asks the running process; `None` when none is running.
///
/// # Errors
/// When it goes away in the middle.
pub async fn ask(directory: &Path, question: &Question) -> io::Result<Option<Answer>> {
    let mut stream = match UnixStream::connect(socket_path(directory)).await {
        Ok(stream) => stream,
        Err(e)
            if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut text = serde_json::to_vec(question)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(Some(serde_json::from_slice(&answer)?))
}
