//! How brokers are signed in to, from what is written.

use cmsync_azure::Identity;
use cmsync_queue::kafka::KafkaOptions;

use super::EntraTokens;
use super::checker::Checker;
use super::identity::{reached, tokens};
use super::raw::{BrokerTokens, Kerberos, Sasl};
use super::site_identity;

/// What the options of the clients do not carry.
#[derive(Debug, Clone)]
pub(super) enum SignIn {
    /// A user and a password, which they carry.
    Password,
    Tokens(Box<EntraTokens>),
    Tickets(Kerberos),
}

/// Reads the part of the mechanism, and refuses what belongs to others.
pub(super) fn sign_in(
    checker: &mut Checker,
    path: &str,
    written: &Sasl,
    options: &mut KafkaOptions,
) -> Option<SignIn> {
    options.settings.insert("sasl.mechanism".into(), written.mechanism.clone());
    let has_tokens = written.token_file.is_some() || written.entra.is_some();
    let has_tickets = written.kerberos.is_some() || written.service_name.is_some();
    let mechanism = written.mechanism.as_str();
    let message = "`token_file` and `entra` are for OAUTHBEARER";
    checker.require(!has_tokens || mechanism == "OAUTHBEARER", path, message);
    let message = "`kerberos` and `service_name` are for GSSAPI";
    checker.require(!has_tickets || mechanism == "GSSAPI", path, message);
    match mechanism {
        "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
            password(checker, path, written, options);
            Some(SignIn::Password)
        }
        "OAUTHBEARER" => {
            token(checker, path, written).map(|tokens| SignIn::Tokens(Box::new(tokens)))
        }
        "GSSAPI" => tickets(checker, path, written, options).map(SignIn::Tickets),
        _ => {
            let message = "must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI";
            checker.wrong(&format!("{path}.mechanism"), message);
            None
        }
    }
}

fn password(checker: &mut Checker, path: &str, written: &Sasl, options: &mut KafkaOptions) {
    let message = "is missing: who signs in to the brokers";
    checker.require(!written.username.is_empty(), &format!("{path}.username"), message);
    options.settings.insert("sasl.username".into(), written.username.clone());
    let secret = checker.secret(&format!("{path}.password_file"), &written.password_file);
    if let Ok(password) = secret.read() {
        options.secrets.insert("sasl.password".into(), password);
    }
}

fn token(checker: &mut Checker, path: &str, written: &Sasl) -> Option<EntraTokens> {
    match (&written.token_file, &written.entra) {
        (Some(file), None) => {
            let secret = checker.secret(&format!("{path}.token_file"), file);
            let identity = Identity::FixedToken(secret);
            let none = BrokerTokens::default().sign_in();
            let (endpoints, http) = reached(checker, path, &none)?;
            Some(EntraTokens { audience: String::new(), identity, endpoints, http })
        }
        (None, Some(entra)) => {
            let path = format!("{path}.entra");
            let message = "is missing: what tokens are for, \
                for example https://contoso.servicebus.windows.net";
            checker.require(!entra.audience.is_empty(), &format!("{path}.audience"), message);
            let audience = entra.audience.trim_end_matches('/').to_owned();
            tokens(checker, &path, &entra.sign_in(), audience)
        }
        _ => {
            checker.wrong(path, "OAUTHBEARER needs exactly one of `token_file` and `entra`");
            None
        }
    }
}

/// The library finds keytab and ticket cache in the environment, as for sites, and asks for tickets
/// itself: librdkafka's own `kinit`, which goes through a shell, is not run.
fn tickets(
    checker: &mut Checker,
    path: &str,
    written: &Sasl,
    options: &mut KafkaOptions,
) -> Option<Kerberos> {
    if !cfg!(feature = "kafka-kerberos") {
        let message = "GSSAPI is not in this build: build with the feature `kafka-kerberos`";
        checker.wrong(&format!("{path}.mechanism"), message);
    }
    let Some(account) = &written.kerberos else {
        let message = "is missing: `{ principal = \"…\", keytab = \"…\" }`";
        checker.wrong(&format!("{path}.kerberos"), message);
        return None;
    };
    site_identity::account(checker, &format!("{path}.kerberos"), account);
    let service = written.service_name.clone().unwrap_or_else(|| "kafka".into());
    options.settings.insert("sasl.kerberos.service.name".into(), service);
    options.settings.insert("sasl.kerberos.min.time.before.relogin".into(), "0".into());
    Some(account.clone())
}
