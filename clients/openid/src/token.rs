//! An ID token, and whether it is to be believed (OpenID Connect Core 1.0, section 3.1.3.7).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::Error;

/// Seconds by which two clocks may differ.
const LEEWAY: u64 = 60;

/// What a token must be for.
pub(crate) struct Wanted<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) nonce: &'a str,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    aud: OneOrMany,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    pub(crate) preferred_username: Option<String>,
    /// The object's id in Entra ID; `sub` there is another for each application.
    #[serde(default)]
    pub(crate) oid: Option<String>,
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Roles of the application that somebody was given ("App roles" of Entra ID).
    #[serde(default)]
    pub(crate) roles: OneOrMany,
}

/// A claim that is a text, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    pub(crate) fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Why a token was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// No key that is known signed it: there may be newer ones, also by the same name.
    UnknownKey,
    /// It is not to be believed.
    Refused(Error),
}

/// Whether a key may sign by an algorithm: never a shared secret, never none.
fn signs(key: &Jwk, algorithm: Algorithm) -> bool {
    use Algorithm as A;
    let is_for_signing =
        key.common.public_key_use.as_ref().is_none_or(|own| *own == PublicKeyUse::Signature);
    is_for_signing
        && match key.algorithm {
            AlgorithmParameters::RSA(_) => {
                matches!(algorithm, A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512)
            }
            AlgorithmParameters::EllipticCurve(_) => matches!(algorithm, A::ES256 | A::ES384),
            AlgorithmParameters::OctetKeyPair(_) => algorithm == A::EdDSA,
            AlgorithmParameters::OctetKey(_) => false,
        }
}

/// Reads a token that one of these keys signed.
pub(crate) fn read(token: &str, keys: &[Jwk], wanted: &Wanted<'_>) -> Result<Claims, Unread> {
    let refused = |text: String| Unread::Refused(Error::Token(text));
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| refused("it has no header of a signed token".into()))?;
    let is_named = |key: &&Jwk| header.kid.is_none() || key.common.key_id == header.kid;
    let fitting = keys.iter().filter(is_named).filter(|key| signs(key, header.alg));
    for key in fitting {
        let key = DecodingKey::from_jwk(key)
            .map_err(|_| refused("the key that signed it cannot be used".into()))?;
        match jsonwebtoken::decode::<Claims>(token, &key, &validation(header.alg, wanted)) {
            Ok(read) => return believed(read.claims, wanted).map_err(refused),
            Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
            Err(error) => return Err(refused(reason(error.kind()))),
        }
    }
    Err(Unread::UnknownKey)
}

fn validation(algorithm: Algorithm, wanted: &Wanted<'_>) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[wanted.issuer]);
    validation.set_audience(&[wanted.client_id]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY;
    validation
}

fn believed(claims: Claims, wanted: &Wanted<'_>) -> Result<Claims, String> {
    if claims.nonce.as_deref() != Some(wanted.nonce) {
        return Err("it was issued for another sign-in".into());
    }
    let is_shared = claims.aud.all().len() > 1;
    match &claims.azp {
        Some(azp) if azp != wanted.client_id => Err("it was issued to another application".into()),
        None if is_shared => Err("it is for several applications and says not to which".into()),
        _ => Ok(claims),
    }
}

fn reason(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidIssuer => "another issuer made it".into(),
        ErrorKind::InvalidAudience => {
            "it is for another application: check `console.openid.client_id`".into()
        }
        ErrorKind::ExpiredSignature => "it has expired: is this machine's clock right?".into(),
        ErrorKind::ImmatureSignature => {
            "it is not valid yet: is this machine's clock right?".into()
        }
        ErrorKind::MissingRequiredClaim(claim) => format!("it has no `{claim}`"),
        _ => "it cannot be read".into(),
    }
}

#[cfg(test)]
mod tests;
