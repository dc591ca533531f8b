//! The lab's own certificate authority and server certificate.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};

/// A certificate for `localhost`, 127.0.0.1 and the clouds' own names, and its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    /// A server that shows it.
    pub(crate) fn server(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .expect("certificate and key")
    }
}

/// An identity, and the authority's certificate as PEM.
pub(crate) fn make() -> (Identity, String) {
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "cmsync lab authority");
    let authority = CertifiedIssuer::self_signed(params, key).expect("authority");
    let own = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let names: Vec<String> = own.into_iter().chain(crate::hosts::Shape::all_hosts()).collect();
    let server_key = KeyPair::generate().expect("key");
    let leaf = CertificateParams::new(names).expect("parameters");
    let leaf = leaf.signed_by(&server_key, &authority).expect("certificate");
    let identity = Identity { certificate: leaf.der().clone(), key: server_key.serialize_der() };
    (identity, authority.pem())
}
