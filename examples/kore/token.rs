//! JSON Web Tokens with HS256, as far as this demonstration needs them: they do not expire.
//!
//! A real server uses a library such as `jsonwebtoken`, which takes longer to compile than this whole demonstration.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::Sha256;

#[derive(Debug, Deserialize, Serialize)]
struct Header {
    alg: String,
}

/// Returns a token with these claims.
pub(crate) fn sign(claims: &impl Serialize, secret: &[u8]) -> Result<String, serde_json::Error> {
    let header = serde_json::to_vec(&Header { alg: "HS256".into() })?;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?));
    let signature = mac(&signed, secret).finalize().into_bytes();
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Returns the claims of a token, if it was signed with this secret.
pub(crate) fn verify<C: DeserializeOwned>(token: &str, secret: &[u8]) -> Option<C> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    mac(signed, secret).verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let header: Header = json(header)?;
    if header.alg == "HS256" { json(claims) } else { None }
}

#[allow(clippy::expect_used, reason = "HMAC takes secrets of any length")]
fn mac(text: &str, secret: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("a secret may have any length");
    mac.chain_update(text)
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
