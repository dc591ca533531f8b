//! The client credentials grant, and its refusals in plain words.
//!
//! Source: "Microsoft identity platform and the OAuth 2.0 client credentials flow", "AADSTS error codes".

use cmsync_http::{Answer, Client, Method, Secret, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::TokenError;
use crate::credential::{Granted, no_secret};
use crate::identity::Proof;

/// What an assertion is, as the grant names it.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An application that asks.
pub(crate) struct Application<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) client: &'a str,
    pub(crate) proof: &'a Proof,
}

#[derive(Deserialize, Default)]
struct Denied {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_codes: Vec<u64>,
}

impl Application<'_> {
    /// Asks the token endpoint; a refusal is an answer too.
    pub(crate) async fn ask(
        &self,
        http: &Client,
        url: &Url,
        audience: &str,
    ) -> Result<Answer, TokenError> {
        let scope = format!("{audience}/.default");
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", self.client),
            ("scope", scope.as_str()),
        ];
        let proof = self.proof(url)?;
        match self.proof {
            Proof::Secret(_) => form.push(("client_secret", proof.expose_secret())),
            Proof::Certificate(_) | Proof::Federated(_) => {
                form.push(("client_assertion_type", ASSERTION_TYPE));
                form.push(("client_assertion", proof.expose_secret()));
            }
        }
        let sent = http.send_repeating(|| Ok(http.request(Method::POST, url.clone()).form(&form)));
        sent.await.map_err(|e| TokenError::Unavailable(e.to_string()))
    }

    fn proof(&self, url: &Url) -> Result<SecretString, TokenError> {
        match self.proof {
            Proof::Secret(secret) => Ok(secret.read()?),
            Proof::Federated(file) => Ok(Secret::File(file.clone()).read()?),
            Proof::Certificate(file) => {
                let fail = |detail| TokenError::Certificate { path: file.path.clone(), detail };
                let certificate = file.read()?;
                let now = jiff::Timestamp::now().as_second();
                if certificate.not_after < now {
                    return Err(fail(
                        "has expired: renew it, and add the new one to the application".into(),
                    ));
                }
                certificate
                    .assertion(self.client, url.as_str(), now)
                    .map_err(|e| fail(e.to_string()))
            }
        }
    }

    /// The token, or the refusal in plain words.
    pub(crate) fn granted(&self, answer: &Answer) -> Result<Granted, TokenError> {
        if answer.status == StatusCode::OK {
            return Granted::parse(answer);
        }
        if answer.is_transient() {
            let text = format!("the token endpoint answered {}", no_secret(answer));
            return Err(TokenError::Unavailable(text));
        }
        let denied: Denied = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(number) = denied.error_codes.first() else {
            let what = if denied.error.is_empty() { no_secret(answer) } else { denied.error };
            let text = format!("unexpected answer of the token endpoint: {what}");
            return Err(TokenError::Unavailable(text));
        };
        Err(TokenError::Refused {
            client: self.client.to_owned(),
            tenant: self.tenant.to_owned(),
            code: format!("AADSTS{number}"),
            remedy: remedy(*number).to_owned(),
        })
    }
}

/// What to do about a refusal.
fn remedy(number: u64) -> &'static str {
    match number {
        7_000_222 => {
            "the client secret has expired: make a new one and write it to `client_secret_file`"
        }
        7_000_215 => {
            "the client secret is wrong: write the secret's value, not its id, to `client_secret_file`"
        }
        700_016 => "the application is unknown in this tenant: check `client_id` and `tenant_id`",
        90_002 => "the tenant is unknown: check `tenant_id` and `cloud`",
        700_027 => {
            "the application does not have this certificate, or the assertion is not signed by its key: upload the certificate to the application"
        }
        700_024 => "the assertion is not valid now: set this machine's clock right",
        700_211..=700_213 => {
            "the application trusts no such issuer, subject or audience: add a federated credential for them to it"
        }
        500_011 => "the service is unknown in this tenant: check `cloud` and `endpoints`",
        _ => "see the code in Microsoft Entra's sign-in logs",
    }
}
