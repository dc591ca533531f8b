use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const WANTED: Wanted<'_> =
    Wanted { issuer: "https://login.example/v2.0", client_id: "cmsync", nonce: "n-1" };

/// A key that signs, with its public half as a provider shows it.
struct Signer {
    key: EncodingKey,
    public: Value,
}

impl Signer {
    fn new(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = pair.public_key_raw().to_vec();
        let (x, y) = point[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        let public =
            json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "use": "sig" });
        Self { key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(), public }
    }

    fn jwk(&self) -> Jwk {
        serde_json::from_value(self.public.clone()).unwrap()
    }

    fn sign(&self, id: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = id.map(ToOwned::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn good() -> Value {
    json!({
        "iss": WANTED.issuer, "aud": WANTED.client_id, "nonce": WANTED.nonce, "sub": "s-1",
        "exp": now() + 600, "nbf": now(), "preferred_username": "alice@contoso.com",
        "roles": ["Operator"],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn a_token_of_the_provider_for_this_sign_in_is_believed() {
    let (signer, other) = (Signer::new("k1"), Signer::new("k2"));
    let keys = [other.jwk(), signer.jwk()];
    for claims in [
        good(),
        with("aud", json!(["cmsync"])),
        with("azp", json!("cmsync")),
        with("roles", json!("Operator")),
        without("nbf"),
        // Within what two clocks may differ.
        with("exp", json!(now() - 30)),
        with("nbf", json!(now() + 30)),
    ] {
        let read = read(&signer.sign(Some("k1"), &claims), &keys, &WANTED).unwrap();
        assert_eq!((&*read.sub, read.roles.all()), ("s-1", &["Operator".to_owned()][..]));
    }
    // A provider may leave out which of its keys it was.
    assert!(read(&signer.sign(None, &good()), &keys, &WANTED).is_ok());
}

#[test]
fn any_other_token_is_refused_with_its_reason() {
    let signer = Signer::new("k1");
    for (claims, reason) in [
        (with("iss", json!("https://login.example/other")), "another issuer"),
        (with("aud", json!("other")), "console.openid.client_id"),
        (with("aud", json!(["cmsync", "other"])), "several applications"),
        (with("azp", json!("other")), "another application"),
        (with("nonce", json!("n-2")), "another sign-in"),
        (with("exp", json!(now() - 120)), "clock"),
        (with("nbf", json!(now() + 120)), "clock"),
        (without("iss"), "iss"),
        (without("aud"), "cannot be read"),
        (without("exp"), "exp"),
        (without("nonce"), "another sign-in"),
        (without("sub"), "cannot be read"),
        (with("exp", json!("tomorrow")), ""),
    ] {
        let token = signer.sign(Some("k1"), &claims);
        match read(&token, &[signer.jwk()], &WANTED) {
            Err(Unread::Refused(error)) => {
                let text = error.to_string();
                assert!(text.contains(reason) && !text.contains(&token), "{claims}: {text}");
            }
            other => panic!("{claims}: {other:?}"),
        }
    }
}

#[test]
fn a_token_that_no_key_of_the_provider_signed_is_never_read() {
    let (signer, forger) = (Signer::new("k1"), Signer::new("k1"));
    let keys = [signer.jwk()];
    for (id, key) in
        [(Some("k1"), &forger), (None, &forger), (Some("k2"), &signer), (Some("k2"), &forger)]
    {
        let token = key.sign(id, &good());
        assert!(matches!(read(&token, &keys, &WANTED), Err(Unread::UnknownKey)));
    }
    // Signed with what everybody knows: the public key as a shared secret; or not at all.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k1".into());
    let x = signer.public["x"].as_str().unwrap();
    let shared = EncodingKey::from_secret(x.as_bytes());
    let token = jsonwebtoken::encode(&header, &good(), &shared).unwrap();
    assert!(matches!(read(&token, &keys, &WANTED), Err(Unread::UnknownKey)));
    let oct = json!({ "kty": "oct", "k": x, "kid": "k1" });
    let oct = serde_json::from_value(oct).unwrap();
    assert!(matches!(read(&token, &[oct], &WANTED), Err(Unread::UnknownKey)));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(&json!({ "alg": "none", "kid": "k1" })), part(&good()));
    assert!(read(&none, &keys, &WANTED).is_err());
    // A key for encryption signs nothing.
    let mut encrypts = signer.public.clone();
    encrypts["use"] = json!("enc");
    let encrypts = serde_json::from_value(encrypts).unwrap();
    assert!(read(&signer.sign(Some("k1"), &good()), &[encrypts], &WANTED).is_err());
}

proptest! {
    #[test]
    fn no_other_bytes_are_a_token(at in 0_usize..400, flip in 1_u8..=255, text in "\\PC{0,80}") {
        let signer = Signer::new("k1");
        let keys = [signer.jwk()];
        prop_assert!(read(&text, &keys, &WANTED).is_err());
        let mut bytes = signer.sign(Some("k1"), &good()).into_bytes();
        let at = at % bytes.len();
        // The last character of a part may hold bits that mean nothing.
        prop_assume!(bytes.get(at + 1).is_some_and(|next| *next != b'.'));
        bytes[at] ^= flip;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(read(&changed, &keys, &WANTED).is_err(), "{changed}");
        }
    }
}
