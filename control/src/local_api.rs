//! How a command reaches the running process: one question and one answer, each one line of JSON, at the
//! place that the queue's directory names. Whoever may use the directory may ask.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::platform::{self, Listener, Stream};
use crate::question::{Order, Question};
use crate::views::Answer;

/// Bytes of a question, at most: the names of all computers that report. Who gets this far may use the
/// directory.
const MAX_QUESTION: u64 = 64 * 1024 * 1024;
/// How long nobody is heard after one could not be.
const MOMENT: Duration = Duration::from_millis(50);
/// Bytes of an answer, at most: the members of the largest collection.
const MAX_ANSWER: u64 = 512 * 1024 * 1024;

/// Answers questions until `shutdown`.
///
/// # Errors
/// When the place cannot be made.
pub async fn serve(directory: &Path, desk: Desk, shutdown: CancellationToken) -> io::Result<()> {
    // The queue's lock says that no other process lives: what is there was left by a killed one.
    let listener = Arc::new(Listener::bind(directory)?);
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match stream {
            Ok(stream) => stream,
            // Whoever went away before it was accepted, or too many open files: the next one is heard.
            Err(error) => {
                tracing::debug!(%error, "a command was not accepted");
                tokio::time::sleep(MOMENT).await;
                continue;
            }
        };
        let (desk, listener) = (desk.clone(), Arc::clone(&listener));
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &desk, &listener).await {
                tracing::debug!(%error, "a command went away");
            }
        });
    }
    listener.remove()
}

async fn converse(mut stream: Stream, desk: &Desk, listener: &Listener) -> io::Result<()> {
    // Who asks is known from the connection, whatever the question says.
    let asks = listener.admit(&mut stream).await?;
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    let mut question = BufReader::new(read).take(MAX_QUESTION);
    question.read_until(b'\n', &mut line).await?;
    let is_too_long = question.limit() == 0 && line.last() != Some(&b'\n');
    if is_too_long {
        pass_over(question.get_mut()).await?;
    }
    let answer = match serde_json::from_slice::<Question>(&line) {
        Ok(Question::Ticket) => Answer::Ticket(desk.tickets().issue(&asks)),
        Ok(question) => match answered(desk, &asks, question).await {
            Ok(answer) => answer,
            Err(error) => Answer::Refused(error.to_string()),
        },
        Err(_) if is_too_long => {
            Answer::Refused(format!("the question is larger than {MAX_QUESTION} bytes"))
        }
        Err(error) => Answer::Refused(format!("not a question that this version knows: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    write.write_all(&text).await
}

/// Reads what is left of a line, so that whoever sends it hears why it is not taken.
async fn pass_over(mut from: impl AsyncBufRead + Unpin) -> io::Result<()> {
    loop {
        let some = from.fill_buf().await?;
        let (end, length) = (some.iter().position(|byte| *byte == b'\n'), some.len());
        from.consume(end.map_or(length, |at| at + 1));
        if end.is_some() || length == 0 {
            return Ok(());
        }
    }
}

/// Answers, and says in the log what was ordered by whom.
async fn answered(desk: &Desk, who: &str, question: Question) -> Result<Answer, crate::Error> {
    if let Some(Order { connection, item, text }) = question.order() {
        tracing::info!(target: "audit", who, order = text, connection, item, "ordered by a command");
    }
    desk.answer_as(who, question).await
}

/// Asks the running process; `None` when none is running, or it stopped before it answered: whoever
/// asks goes to the queue itself then, and every question may be asked twice.
///
/// # Errors
/// When the socket cannot be used, or the answer is not one.
pub async fn ask(directory: &Path, question: &Question) -> io::Result<Option<Answer>> {
    match converse_with(directory, question).await {
        Ok(answer) if answer.is_empty() => Ok(None),
        Ok(answer) => Ok(Some(serde_json::from_slice(&answer)?)),
        Err(error) if is_gone(error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(kind, NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}

async fn converse_with(directory: &Path, question: &Question) -> io::Result<Vec<u8>> {
    let mut stream = platform::connect(directory).await?;
    let mut text = serde_json::to_vec(question)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_stops_while_it_is_asked_counts_as_not_running() {
        let directory = tempfile::tempdir().unwrap();
        let question = Question::Status;
        assert!(ask(directory.path(), &question).await.unwrap().is_none());
        let listener = Listener::bind(directory.path()).unwrap();
        let (asked, ()) = tokio::join!(ask(directory.path(), &question), async {
            // Closed with the question unread: the other end's connection is reset.
            drop(listener.accept().await.unwrap());
        });
        assert!(asked.unwrap().is_none());
        let (asked, ()) = tokio::join!(ask(directory.path(), &question), async {
            let mut stream = listener.accept().await.unwrap();
            drop(listener.admit(&mut stream).await.unwrap());
            let mut line = String::new();
            BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
        });
        assert!(asked.unwrap().is_none());
        let asked = ask(directory.path(), &question);
        drop(listener);
        assert!(asked.await.unwrap().is_none());
    }
}
