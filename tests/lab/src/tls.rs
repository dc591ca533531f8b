//! The lab's own certificate authority and server certificate.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server configuration for `localhost`, 127.0.0.1 and the clouds' own names, and the authority's certificate as PEM.
pub(crate) fn make() -> (Arc<ServerConfig>, String) {
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
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .expect("certificate and key");
    (Arc::new(config), authority.pem())
}
