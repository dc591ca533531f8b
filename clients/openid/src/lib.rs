//! Sign-in by OpenID Connect, as a client of an identity provider such as Microsoft Entra ID: the
//! authorization code flow with PKCE.
//!
//! A browser is sent to the provider ([`OpenId::begin`]) and comes back with a code, for which the provider
//! tells who signed in ([`OpenId::finish`]). Nothing is kept of a sign-in here: [`Pending`] goes along with
//! the browser. Sources: OpenID Connect Core 1.0 (section 3.1), OpenID Connect Discovery 1.0, RFC 7636
//! (PKCE), RFC 9207 (who answers), and "OpenID Connect on the Microsoft identity platform".

mod error;
mod provider;
mod sign_in;
mod token;

pub use cmsync_http::{Secret, Settings as Http};
pub use error::Error;
pub use sign_in::{Begun, Identity, OpenId, Pending, Returned, Settings};
