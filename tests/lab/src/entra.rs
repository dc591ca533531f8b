//! Entra's token endpoint and the machine's own: secrets, signed assertions, federated tokens and
//! managed identities, each judged as the real one judges it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::header::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use x509_parser::pem::Pem;

use crate::ingestion::{Reply, failure, form};
use crate::server::{Lab, SITE_AUDIENCE, lock};

/// What an assertion is, as the grant names it.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

type Refusal = (u32, &'static str);

/// Answers a token request.
pub(crate) fn token(lab: &Lab, tenant: &str, body: &[u8]) -> Reply {
    lab.counts().tokens += 1;
    if lab.faults().token_down_until.is_some_and(|until| Instant::now() < until) {
        return Some((503, vec![], "<html>Service unavailable</html>".into()));
    }
    match judge(lab, tenant, &form(body)) {
        Ok((audience, principal)) => {
            let token = lab.issue_token(&audience, &principal);
            let body = json!({"token_type": "Bearer", "expires_in": lab.options.token_lifetime, "access_token": token});
            Some((200, vec![], body.to_string()))
        }
        Err((number, text)) => {
            let body = json!({"error": "invalid_client", "error_description": format!("AADSTS{number}: {text}"), "error_codes": [number]});
            Some((401, vec![], body.to_string()))
        }
    }
}

/// The audience that a token is granted for, and for whom.
fn judge(
    lab: &Lab,
    tenant: &str,
    form: &HashMap<String, String>,
) -> Result<(String, String), Refusal> {
    let get = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let options = &lab.options;
    if tenant != options.tenant {
        return Err((90_002, "Tenant not found."));
    }
    let application = lab.directory().application(get("client_id")).cloned();
    let application = application.ok_or((700_016, "Application not found in the directory."))?;
    if form.contains_key("client_assertion") {
        if get("client_assertion_type") != ASSERTION_TYPE {
            return Err((900_144, "The request body must contain 'client_assertion_type'."));
        }
        assertion(lab, get("client_assertion"))?;
    } else {
        if lab.faults().secret_expired {
            return Err((7_000_222, "The provided client secret keys are expired."));
        }
        let given = get("client_secret");
        match application.secrets.iter().find(|s| s.value == given) {
            Some(secret) if secret.end < jiff::Timestamp::now() => {
                return Err((7_000_222, "The provided client secret keys are expired."));
            }
            Some(_) => {}
            None => {
                return Err((
                    7_000_215,
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.",
                ));
            }
        }
    }
    let audience = get("scope").strip_suffix("/.default");
    let audience = audience.ok_or((70_011, "The provided value for scope is not valid."))?;
    if !lab.audiences().iter().any(|known| known == audience.trim_end_matches('/')) {
        return Err((500_011, "The resource principal was not found in the tenant."));
    }
    Ok((audience.to_owned(), application.principal_id))
}

/// Judges an assertion: one that another issuer signed, or the application's certificate.
fn assertion(lab: &Lab, text: &str) -> Result<(), Refusal> {
    if lab.options.federated_token.as_deref() == Some(text) {
        return Ok(());
    }
    let unknown = (700_027, "Client assertion contains an invalid signature.");
    let header = jsonwebtoken::decode_header(text)
        .map_err(|_| (50_027, "Invalid JWT token: the format is not valid."))?;
    let registered = lab.options.certificate.as_deref().ok_or(unknown)?;
    let pem = Pem::iter_from_buffer(registered.as_bytes()).next().and_then(Result::ok);
    let der = pem.ok_or(unknown)?.contents;
    let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &der);
    if header.x5t != Some(BASE64_URL_SAFE_NO_PAD.encode(thumbprint)) {
        return Err(unknown);
    }
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|_| unknown)?;
    let key = DecodingKey::from_rsa_der(&certificate.public_key().subject_public_key.data);
    let mut validation = Validation::new(Algorithm::RS256);
    let tenant = &lab.options.tenant;
    validation.set_audience(&[format!("{}/{tenant}/oauth2/v2.0/token", lab.authority())]);
    validation.set_issuer(&[&lab.options.client_id]);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    validation.sub = Some(lab.options.client_id.clone());
    validation.validate_nbf = true;
    match jsonwebtoken::decode::<Value>(text, &key, &validation) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            jsonwebtoken::errors::ErrorKind::ExpiredSignature
            | jsonwebtoken::errors::ErrorKind::ImmatureSignature => {
                (700_024, "Client assertion is not within its valid time range.")
            }
            _ => unknown,
        }),
    }
}

/// Answers as a virtual machine's endpoint does, or as Azure Arc's agent with its challenge.
pub(crate) fn machine(
    lab: &Lab,
    query: &str,
    headers: &HeaderMap<HeaderValue>,
    is_arc: bool,
) -> Reply {
    lab.counts().tokens += 1;
    let form = form(query.as_bytes());
    if headers.get("metadata").is_none_or(|v| v != "true") {
        return failure(400, "invalid_request", "Required metadata header not specified");
    }
    if is_arc {
        let expected = format!("Basic {}", crate::server::ARC_KEY);
        if headers.get("authorization").is_none_or(|v| v != expected.as_str()) {
            let path = lab.options.arc_key_file.display();
            return Some((
                401,
                vec![("www-authenticate", format!("Basic realm={path}"))],
                String::new(),
            ));
        }
    }
    if form.get("client_id").is_some_and(|id| *id != lab.options.client_id) {
        let body = json!({"error": "invalid_request", "error_description": "Identity not found"});
        return Some((400, vec![], body.to_string()));
    }
    let audience = form.get("resource").map(String::as_str).unwrap_or_default();
    let token = lab.issue_token(audience, &lab.options.object_id.clone());
    let lifetime = lab.options.token_lifetime.to_string();
    let body = json!({"access_token": token, "expires_in": lifetime, "resource": audience, "token_type": "Bearer"});
    Some((200, vec![], body.to_string()))
}

impl Lab {
    /// A token, as Entra would grant it to whoever has this object id.
    pub fn issue_token(&self, audience: &str, object_id: &str) -> String {
        let number = self.next_token.fetch_add(1, Ordering::Relaxed);
        let token = shape(self, number, audience, object_id);
        let kept = (audience.to_owned(), object_id.to_owned());
        lock(&self.tokens).insert(token.clone(), kept);
        token
    }

    /// Audience and object id of a token that was issued.
    pub(crate) fn issued(&self, token: &str) -> Option<(String, String)> {
        lock(&self.tokens).get(token).cloned()
    }

    /// Whether a header holds a token of Entra for the site.
    pub(crate) fn is_for_site(&self, header: &str) -> bool {
        let token = header.strip_prefix("Bearer ").and_then(|token| self.issued(token));
        token.is_some_and(|(audience, _)| audience == SITE_AUDIENCE)
    }
}

/// A token as it looks on the wire: claims that its reader may look at, and a number that makes it
/// one of a kind.
fn shape(lab: &Lab, number: u64, audience: &str, object_id: &str) -> String {
    let options = &lab.options;
    let now = jiff::Timestamp::now().as_second();
    let end = now.saturating_add_unsigned(options.token_lifetime);
    let client = lab
        .directory()
        .applications
        .iter()
        .find(|a| a.principal_id == object_id)
        .map(|a| a.client_id.clone());
    let name = client.is_none().then_some("ada@contoso.com");
    let claims = json!({"aud": audience, "oid": object_id, "sub": object_id, "iss": format!("{}/{}/v2.0", lab.authority(), options.tenant), "iat": now, "nbf": now, "exp": end, "tid": options.tenant, "appid": client.unwrap_or_default(), "upn": name.unwrap_or_default(), "jti": number.to_string()});
    if let Some(signed) = options.signing_key.as_deref().and_then(|key| signed(key, &claims)) {
        return signed;
    }
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.lab", part(json!({"typ": "JWT", "alg": "RS256"})), part(claims))
}

/// Signs claims with a key, PEM.
fn signed(key: &str, claims: &Value) -> Option<String> {
    let key = EncodingKey::from_ec_pem(key.as_bytes()).ok()?;
    let kid = Some(cmsync_broker::KEY_ID.to_owned());
    let header = Header { kid, ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, claims, &key).ok()
}
