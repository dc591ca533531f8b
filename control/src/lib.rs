//! What a person may ask for: the questions and orders behind every command and every face.
//!
//! It owns the desk (answers from the queue, orders onto the control topic), the lists made of it, the judgement
//! of a connection ([`truth`]), what is set up in Azure ([`setup`]) and verified there ([`verify`]), and the local
//! API. It does not own the configuration file ([`Settings`] and [`Connect`] are the binary's), what stages do
//! with an order, or how anything looks.
//!
//! The stages' health and the producer's state are compacted topics,
//! orders are messages on the control topic. A running process answers through [`local_api`];
//! without one, the commands open the queue themselves and ask [`Desk`] directly.

pub mod activity;
mod backlog;
mod desk;
mod expected;
mod groups;
pub mod history;
mod kept;
mod letters;
mod lists;
pub mod local_api;
mod names;
mod platform;
mod portal;
mod question;
mod removals;
mod settings;
pub mod setup;
mod shelf;
mod state;
mod tickets;
mod truth;
pub mod verify;
mod views;

pub use cmsync_queue::Error;
pub use cmsync_schemas::topics::ALL;
pub use cmsync_schemas::{Activity, Health, Kind, Note, counted, print_of};

pub use backlog::{Backlog, Waiting};
pub use desk::{Desk, Log};
pub use lists::{Asked, ComputerSort, Computers, GroupSort, Groups};
pub use portal::{Portal, log_search};
pub use question::{Order, Question};
pub use settings::{
    Change, Connect, IdentityView, Plan, Progress, Properties, Settings, SettingsError, Step,
    StepView, VisibleView, WorkspaceView,
};
pub use tickets::{Tickets, token};
pub use truth::{About, Need, Truth, Verdict, judge};
pub use views::{
    Answer, ConnectionView, DeadLetterView, ExpectedGroup, ExpectedView, GroupView, GroupsView,
    MemberView, MembershipView, RemovalView, SearchView, ShowView, StageView,
};
