//! How answers are asked for: on a terminal, or not at all.

use std::io::IsTerminal as _;

use anyhow::{anyhow, bail};
use inquire::error::InquireError;
use inquire::{Confirm, MultiSelect, Password, Select, Text};
use serde::Serialize;

/// Rows of a list that are shown at once.
const PAGE: usize = 10;
/// Choices that a refusal names.
const NAMED: usize = 20;

/// Asks, or refuses to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// On the terminal.
    Terminal,
    /// Nobody: what is missing is an error that names the key.
    Nobody,
}

/// What is asked.
pub(crate) struct Prompt<'a> {
    /// The question.
    pub(crate) text: &'a str,
    /// The key of the answer in a file of answers.
    pub(crate) key: &'a str,
    /// What helps to answer it.
    pub(crate) help: &'a str,
}

/// One of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Choice {
    /// What a person reads.
    pub(crate) label: String,
    /// The answers that choosing it gives, by their keys.
    pub(crate) answers: Vec<(&'static str, String)>,
}

impl Choice {
    /// One that is acted upon where it was asked for.
    pub(crate) fn plain(label: impl Into<String>) -> Self {
        Self { label: label.into(), answers: Vec::new() }
    }
}

/// An answer that is missing, where nobody can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{message}")]
pub(crate) struct Missing {
    /// The key of the answer.
    pub(crate) key: String,
    /// The question.
    pub(crate) text: String,
    /// What may be answered; empty for anything.
    pub(crate) choices: Vec<Choice>,
    /// All of it in one line.
    pub(crate) message: String,
}

fn told(error: InquireError) -> anyhow::Error {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => anyhow!(Stopped),
        other => anyhow!("the terminal cannot be asked: {other}"),
    }
}

/// A person stopped the questions.
#[derive(Debug, thiserror::Error)]
#[error("stopped; the answers so far are kept, and `cmsync connect` goes on with them")]
pub(crate) struct Stopped;

impl Ask {
    /// Asks on a terminal where there is one and nobody said not to.
    pub(crate) fn new(may_ask: bool) -> Self {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if may_ask && is_terminal { Self::Terminal } else { Self::Nobody }
    }

    pub(crate) fn is_terminal(self) -> bool {
        self == Self::Terminal
    }

    /// The error of an answer that is missing.
    pub(crate) fn refuse<T>(prompt: &Prompt<'_>) -> anyhow::Result<T> {
        let message = format!("`{}` is missing ({}): {}", prompt.key, prompt.text, prompt.help);
        let (key, text) = (prompt.key.to_owned(), prompt.text.to_owned());
        Err(Missing { key, text, choices: Vec::new(), message }.into())
    }

    /// A line of text; what is wrong with an answer is said, and it is asked again.
    pub(crate) fn text(
        self,
        prompt: &Prompt<'_>,
        default: &str,
        check: impl Fn(&str) -> Result<(), String> + Clone + 'static,
    ) -> anyhow::Result<String> {
        if !self.is_terminal() {
            return if default.is_empty() { Self::refuse(prompt) } else { Ok(default.to_owned()) };
        }
        let validator = move |text: &str| {
            Ok(match check(text.trim()) {
                Ok(()) => inquire::validator::Validation::Valid,
                Err(message) => inquire::validator::Validation::Invalid(message.into()),
            })
        };
        let mut asked = Text::new(prompt.text).with_validator(validator);
        if !default.is_empty() {
            asked = asked.with_default(default);
        }
        if !prompt.help.is_empty() {
            asked = asked.with_help_message(prompt.help);
        }
        block(|| asked.prompt()).map(|text| text.trim().to_owned())
    }

    /// A secret, which is not shown.
    pub(crate) fn secret(self, prompt: &Prompt<'_>) -> anyhow::Result<String> {
        if !self.is_terminal() {
            return Self::refuse(prompt);
        }
        let asked = Password::new(prompt.text)
            .without_confirmation()
            .with_help_message(prompt.help)
            .with_validator(inquire::required!());
        block(|| asked.prompt())
    }

    /// Yes or no.
    pub(crate) fn confirm(self, prompt: &Prompt<'_>, default: bool) -> anyhow::Result<bool> {
        if !self.is_terminal() {
            return Ok(default);
        }
        let mut asked = Confirm::new(prompt.text).with_default(default);
        if !prompt.help.is_empty() {
            asked = asked.with_help_message(prompt.help);
        }
        block(|| asked.prompt())
    }

    /// One of a list, searched by typing; the only one is taken. Gives its number.
    pub(crate) fn choose(self, prompt: &Prompt<'_>, choices: &[Choice]) -> anyhow::Result<usize> {
        match (choices.len(), self) {
            (0, _) => bail!("{}: there is nothing to choose from; {}", prompt.text, prompt.help),
            (1, _) => Ok(0),
            (_, Self::Nobody) => {
                let more = choices.len().saturating_sub(NAMED);
                let mut named: Vec<&str> =
                    choices.iter().take(NAMED).map(|choice| choice.label.as_str()).collect();
                let rest = format!("and {more} more");
                if more > 0 {
                    named.push(&rest);
                }
                let (key, text) = (prompt.key.to_owned(), prompt.text.to_owned());
                let message = format!("`{key}` is missing ({text}); one of: {}", named.join("; "));
                Err(Missing { key, text, choices: choices.to_vec(), message }.into())
            }
            (_, Self::Terminal) => {
                let labels = choices.iter().map(|choice| choice.label.clone()).collect();
                let asked = Select::new(prompt.text, labels)
                    .with_page_size(PAGE)
                    .with_help_message("type to search, arrows to move, enter to choose");
                Ok(block(|| asked.raw_prompt())?.index)
            }
        }
    }

    /// Any of a list, searched by typing. Gives their numbers.
    pub(crate) fn choose_many(
        self,
        prompt: &Prompt<'_>,
        choices: &[String],
    ) -> anyhow::Result<Vec<usize>> {
        if !self.is_terminal() {
            return Self::refuse(prompt);
        }
        let asked = MultiSelect::new(prompt.text, choices.to_vec())
            .with_page_size(PAGE)
            .with_keep_filter(true)
            .with_help_message("type to search, space to mark, right for all found, enter to end");
        Ok(block(|| asked.raw_prompt())?.into_iter().map(|o| o.index).collect())
    }
}

/// Waits for a person; what else runs goes on meanwhile.
fn block<T>(prompt: impl FnOnce() -> Result<T, InquireError>) -> anyhow::Result<T> {
    tokio::task::block_in_place(prompt).map_err(told)
}
