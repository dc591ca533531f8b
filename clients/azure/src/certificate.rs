//! An application's certificate: the assertion that its key signs.
//!
//! Source: "Microsoft identity platform application authentication certificate credentials".

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use x509_parser::pem::Pem;

use crate::TokenError;

/// Seconds that an assertion may be used.
const LIFETIME: i64 = 300;

/// A certificate with its chain and its key, PEM, read at each use so that a renewed one counts at
/// once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFile {
    /// The certificate, then those that signed it; the key too unless `key` names another file.
    pub path: PathBuf,
    /// The private key, where it has a file of its own.
    pub key: Option<PathBuf>,
}

/// A certificate that was read and fits its key.
pub struct Certificate {
    chain: Vec<Vec<u8>>,
    key: EncodingKey,
    /// Seconds since 1970 at which it ends.
    pub not_after: i64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    sub: String,
    jti: String,
    nbf: i64,
    exp: i64,
}

impl CertificateFile {
    /// The file that holds the key.
    #[must_use]
    pub fn key_path(&self) -> &Path {
        self.key.as_ref().unwrap_or(&self.path)
    }

    /// Reads the certificate and tries its key.
    ///
    /// # Errors
    /// [`TokenError::Certificate`] naming the file: it cannot be read, holds no certificate or key, the
    /// key is not RSA or is encrypted, or the two do not belong together.
    pub fn read(&self) -> Result<Certificate, TokenError> {
        let chain = self.chain()?;
        let key_path = self.key_path();
        let fail = |detail: &str| TokenError::Certificate {
            path: key_path.to_owned(),
            detail: detail.to_owned(),
        };
        let text = cmsync_files::read_secret(key_path).map_err(|e| fail(&e.to_string()))?;
        let pem = key_block(text.expose_secret()).map_err(fail)?;
        let key = EncodingKey::from_rsa_pem(pem.as_bytes())
            .map_err(|_| fail("holds no RSA key that can be used: Entra takes RSA certificates"))?;
        let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|e| {
            TokenError::Certificate { path: self.path.clone(), detail: e.to_string() }
        })?;
        let not_after = parsed.validity().not_after.timestamp();
        let public = DecodingKey::from_rsa_der(&parsed.public_key().subject_public_key.data);
        let certificate = Certificate { chain, key, not_after };
        let probe = certificate.assertion("probe", "probe", jiff::Timestamp::now().as_second());
        let fits = probe.is_ok_and(|text| {
            let mut validation = Validation::new(Algorithm::RS256);
            validation.set_audience(&["probe"]);
            jsonwebtoken::decode::<Claims>(text.expose_secret(), &public, &validation).is_ok()
        });
        if fits { Ok(certificate) } else { Err(fail("the key does not belong to the certificate")) }
    }

    fn chain(&self) -> Result<Vec<Vec<u8>>, TokenError> {
        let fail = |detail: String| TokenError::Certificate { path: self.path.clone(), detail };
        // Its key may be in the same file.
        let bytes = cmsync_files::read_private(&self.path).map_err(|e| fail(e.to_string()))?;
        let blocks = Pem::iter_from_buffer(&bytes).collect::<Result<Vec<_>, _>>();
        let blocks = blocks.map_err(|e| fail(format!("is no PEM file: {e}")))?;
        let chain: Vec<_> =
            blocks.into_iter().filter(|b| b.label == "CERTIFICATE").map(|b| b.contents).collect();
        if chain.is_empty() {
            return Err(fail(
                "holds no certificate: begin it with -----BEGIN CERTIFICATE-----".into(),
            ));
        }
        Ok(chain)
    }
}

/// The block of a PEM text that holds the private key.
fn key_block(text: &str) -> Result<&str, &'static str> {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err("holds an encrypted key: write it unencrypted and guard the file instead");
    }
    let missing = "holds no private key: append it, or name its file as `certificate_key_file`";
    let label = ["PRIVATE KEY", "RSA PRIVATE KEY"]
        .into_iter()
        .find(|label| text.contains(&format!("-----BEGIN {label}-----")))
        .ok_or(missing)?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let from = text.find(&begin).ok_or(missing)?;
    let rest = text.get(from..).ok_or(missing)?;
    let to = rest.find(&end).ok_or("holds a private key without its end")?;
    rest.get(..to + end.len()).ok_or(missing)
}

impl Certificate {
    /// The assertion that shows the application at `token_url`.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn assertion(
        &self,
        client: &str,
        token_url: &str,
        now: i64,
    ) -> Result<SecretString, jsonwebtoken::errors::Error> {
        let leaf = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, leaf);
        let mut header = Header::new(Algorithm::RS256);
        header.x5t = Some(BASE64_URL_SAFE_NO_PAD.encode(thumbprint));
        // The chain lets an application trust a name and an issuer instead of one certificate.
        header.x5c = Some(self.chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect());
        let claims = Claims {
            aud: token_url.to_owned(),
            iss: client.to_owned(),
            sub: client.to_owned(),
            jti: format!("{:032x}", rand::random::<u128>()),
            nbf: now,
            exp: now + LIFETIME,
        };
        jsonwebtoken::encode(&header, &claims, &self.key).map(SecretString::from)
    }
}
