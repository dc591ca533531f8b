//! The console's certificate, read again when its file is renewed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto};

/// A certificate with its key.
#[derive(Debug)]
struct Certificate {
    files: [PathBuf; 2],
    held: Mutex<(Stamps, Arc<CertifiedKey>)>,
}

/// When both files were written, how long they are, and whether they can be read.
type Stamps = [Option<(SystemTime, u64, bool)>; 2];

fn stamps(files: &[PathBuf; 2]) -> Stamps {
    files.each_ref().map(|file| {
        let about = std::fs::metadata(file).ok()?;
        Some((about.modified().ok()?, about.len(), std::fs::File::open(file).is_ok()))
    })
}

fn read([certificate, key]: &[PathBuf; 2]) -> Result<CertifiedKey, String> {
    let wrong = |file: &Path, error: String| format!("`{}`: {error}", file.display());
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> =
        chain.map_err(|error| wrong(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "holds no certificate in PEM".into()));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let provider = crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, private, &provider).map_err(|error| wrong(key, error.to_string()))
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if now != held.0 {
            // Once for each writing, however many shake hands meanwhile.
            held.0 = now;
            match read(&self.files) {
                Ok(new) => held.1 = Arc::new(new),
                // Both files are seldom written at once: the old one goes on meanwhile.
                Err(error) => tracing::warn!(error, "the console's new certificate is not used"),
            }
        }
        Some(Arc::clone(&held.1))
    }
}

/// TLS with a certificate and its key, PEM files both.
///
/// # Errors
/// When one cannot be read, or they do not belong together.
pub fn tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let files = [certificate.to_owned(), key.to_owned()];
    let (stamps, held) = (stamps(&files), Arc::new(read(&files)?));
    let certificate = Certificate { files, held: Mutex::new((stamps, held)) };
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    Ok(Arc::new(config))
}
