//! Who answers questions: the running process, or the queue where none runs.

use async_trait::async_trait;
use cmsync_control::verify::Asks;
use cmsync_control::{Answer, ConnectionView, Desk, Question};

use crate::commands;
use crate::config::Config;

/// Asks the running process, or the queue where none runs.
pub(crate) struct Outside<'a>(pub(crate) &'a Config);

#[async_trait]
impl Asks for Outside<'_> {
    async fn ask(&self, question: Question) -> Result<Answer, String> {
        commands::ask(self.0, question).await.map_err(|e| format!("{e:#}"))
    }
}

/// Asks within the process.
pub(crate) struct Inside(pub(crate) Desk);

#[async_trait]
impl Asks for Inside {
    async fn ask(&self, question: Question) -> Result<Answer, String> {
        self.0.answer(question).await.map_err(|e| e.to_string())
    }
}

/// Every connection that ever ran, as it is.
pub(crate) async fn views(asks: &dyn Asks) -> anyhow::Result<Vec<ConnectionView>> {
    match asks.ask(Question::Status).await.map_err(anyhow::Error::msg)? {
        Answer::Status(views) => Ok(views),
        Answer::Refused(reason) => anyhow::bail!(reason),
        _ => anyhow::bail!("the running cmsync does not answer as this one asks: restart it"),
    }
}

/// Whether a connection ever ran: one that did not has no rows, no groups and no orders.
pub(crate) async fn has_run(asks: &dyn Asks, connection: &str) -> anyhow::Result<bool> {
    Ok(views(asks).await?.iter().any(|view| view.connection == connection))
}

/// Asks for something to be done; an error where it is refused.
pub(crate) async fn order(asks: &dyn Asks, question: Question) -> anyhow::Result<()> {
    match asks.ask(question).await.map_err(anyhow::Error::msg)? {
        Answer::Refused(reason) => anyhow::bail!(reason),
        _ => Ok(()),
    }
}
