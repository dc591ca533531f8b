//! A pretend hierarchy and a pretend Azure, over TLS.
//!
//! The lab is what cmsync talks to in tests, in the demo and in the bench: an administration
//! service and a site database over a generated hierarchy ([`world`]), Entra tokens, Graph, Resource Manager, Logs Ingestion
//! with the real limits, and a workspace that can say whether its reader would see what the site has ([`workspace`]). It
//! misbehaves on request ([`faults`]).

#![expect(clippy::expect_used, reason = "the lab is a test tool: it stops where it cannot go on")]

mod admin_service;
pub mod arm;
mod captures;
pub mod churn;
mod classes;
mod config;
pub mod copies;
pub mod directory;
mod entra;
pub mod faults;
mod filter;
mod groups;
pub mod hosts;
mod ingestion;
mod negotiate;
mod options;
mod plant;
mod proxy;
mod query;
mod routes;
mod rows;
pub mod server;
mod tds;
mod tls;
pub mod workspace;
pub mod world;

pub use options::{Options, Source};
pub use server::Lab;
