//! What a person may ask for: the questions and orders behind every command and every face.
//!
//! Answers come from the queue: the stages' health and the producer's state are compacted topics,
//! orders are messages on the control topic. A running process answers through [`local_api`];
//! without one, the commands open the queue themselves and ask [`Desk`] directly.

mod desk;
mod expected;
mod groups;
mod letters;
pub mod local_api;
mod removals;
pub mod setup;
mod state;
mod truth;
pub mod verify;
mod views;

pub use desk::{Desk, Log};
pub use truth::{Truth, Verdict, judge};
pub use views::{
    Answer, ConnectionView, DeadLetterView, ExpectedGroup, ExpectedView, GroupView, GroupsView,
    MemberView, MembershipView, Question, RemovalView, SearchView, ShowView, StageView,
};
