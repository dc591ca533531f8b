//! Reads a Configuration Manager site: which site it is, its collections, members and devices.
//!
//! [`Site`] is what a producer asks for; [`AdminService`] answers it over the administration
//! service's WMI route, [`SqlSite`] by the views of the site database.
//!
//! It says whether rows came whole, not whether a read is complete or a removal believed: that is the
//! producer's. It fails over between providers and goes on behind a fault of the database; else it repeats
//! nothing.

mod admin_service;
mod authentication;
mod columns;
mod error;
mod kerberos;
mod load;
mod members;
mod pass;
mod query;
mod rows;
mod selection;
mod site;
mod split;
mod sql;
mod together;
mod track;

pub use admin_service::{AdminService, Settings};
pub use authentication::{Authenticate, Bearer};
pub use error::{Error, Nature};
pub use kerberos::{TICKETS, Tickets, kerberos, ticket_lasts};
pub use load::Limits;
pub use pass::{PassSink, Passes};
pub use selection::{Selection, Selector, is_collection_id};
pub use site::{
    Collection, CollectionsSink, ConnectionPoint, Database, DeviceRow, DeviceScope, Hierarchy,
    Link, MemberRow, MemberSink, Site, SiteInfo, wrong_tier,
};
pub use sql::{Encryption, Port, SqlLogin, SqlSettings, SqlSite, queries};
pub use together::FEW_MEMBERS;
pub use track::{Changed, Track, Tracked};
