//! `SDK-HMAC-SHA256`: the signature of one request, by an access key. Pure: the time comes in.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderName, HeaderValue, Request};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::canonical;

/// An access key with its secret; its `Debug` shows neither.
#[derive(Debug, Clone)]
pub struct Key {
    /// The id of the key. It stands in every request's `Authorization`, and is never shown whole.
    pub access: SecretString,
    pub secret: SecretString,
    /// Of temporary keys alone.
    pub security_token: Option<SecretString>,
}

impl Key {
    pub fn new(access: &str, secret: &str, security_token: Option<&str>) -> Self {
        Self { access: access.into(), secret: secret.into(), security_token: security_token.map(SecretString::from) }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        let parts = |key: &Self| {
            let token = key.security_token.as_ref().map(|token| token.expose_secret().to_owned());
            (key.access.expose_secret().to_owned(), key.secret.expose_secret().to_owned(), token)
        };
        parts(self) == parts(other)
    }

    /// The id of the key as it may be shown: its last four characters.
    pub fn shown(&self) -> String {
        let access = self.access.expose_secret();
        let hidden = access.char_indices().nth_back(3).filter(|_| access.len() >= 12);
        format!("…{}", hidden.map_or("", |(at, _)| &access[at..]))
    }
}

/// How the key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `SDK-HMAC-SHA256`: the secret key itself is the key of the hash.
    Plain,
    /// `V11-HMAC-SHA256`: a key derived from it for a day, a region and a service.
    Derived { region: &'a str, service: &'a str },
}

/// `X-Sdk-Date` for a time: `20260915T083000Z`.
pub fn date(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The value of `Authorization` for a canonical request.
///
/// * `date`: of `X-Sdk-Date`, which is one of the signed headers.
/// * `signed_names`: of [`canonical::signed_names`].
pub fn authorization(key: &Key, scheme: Scheme<'_>, date: &str, canonical: &str, signed_names: &str) -> String {
    let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
    let (access, secret) = (key.access.expose_secret(), key.secret.expose_secret());
    match scheme {
        Scheme::Plain => {
            let to_sign = format!("SDK-HMAC-SHA256\n{date}\n{hash}");
            let signature = hex::encode(hmac(secret.as_bytes(), to_sign.as_bytes()));
            format!("SDK-HMAC-SHA256 Access={access}, SignedHeaders={signed_names}, Signature={signature}")
        }
        Scheme::Derived { region, service } => {
            let day = date.get(..8).unwrap_or(date);
            let info = format!("{day}/{region}/{service}");
            // HKDF with one block: extract by the access key as salt, expand by `info`.
            let extracted = hmac(access.as_bytes(), secret.as_bytes());
            let derived = hex::encode(hmac(&extracted, &[info.as_bytes(), &[1]].concat()));
            let to_sign = format!("V11-HMAC-SHA256\n{date}\n{info}\n{hash}");
            let signature = hex::encode(hmac(derived.as_bytes(), to_sign.as_bytes()));
            format!("V11-HMAC-SHA256 Credential={access}/{info}, SignedHeaders={signed_names}, Signature={signature}")
        }
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    hmac.update(data);
    hmac.finalize().into_bytes().to_vec()
}

/// Names the project that a request is for; what is asked of IAM goes without.
pub(crate) const PROJECT_HEADER: &str = "x-project-id";

/// Signs `request` at `now`: adds `Host`, `X-Sdk-Date`, `X-Security-Token` and `Authorization`, in place of what an
/// earlier attempt left there. The project that the request names is signed, too.
///
/// Few headers are signed, since a proxy that rewrites a signed one (`User-Agent`, `Accept-Encoding`) breaks the
/// signature; the body always is.
///
/// # Errors
/// In plain words, where the key has characters that no header may carry.
pub fn sign(request: &mut Request<Bytes>, key: &Key, now: Timestamp) -> Result<(), String> {
    let date = date(now);
    let mut signed = vec![("host".to_owned(), host(request.uri())?), ("x-sdk-date".to_owned(), date.clone())];
    if let Some(project) = request.headers().get(PROJECT_HEADER) {
        let project = project.to_str().map_err(|_| "the project id can't be signed".to_owned())?;
        signed.push((PROJECT_HEADER.to_owned(), project.to_owned()));
    }
    if let Some(token) = &key.security_token {
        signed.push(("x-security-token".to_owned(), token.expose_secret().to_owned()));
    }
    signed.sort_unstable();
    let hash = canonical::payload_hash(request.body());
    let query = request.uri().query().unwrap_or_default();
    let text = canonical::request(request.method().as_str(), request.uri().path(), query, &signed, &hash);
    let authorization = authorization(key, Scheme::Plain, &date, &text, &canonical::signed_names(&signed));
    let headers = request.headers_mut();
    for (name, value) in &signed {
        let mut value = header_value(name, value.trim())?;
        value.set_sensitive(name == "x-security-token");
        let name =
            if name == "host" { HOST } else { HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())? };
        headers.insert(name, value);
    }
    let mut value = header_value("authorization", &authorization)?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, String> {
    // The value stays out of the message: it may be a secret.
    HeaderValue::from_str(value).map_err(|_| {
        let what = match name {
            "x-security-token" => "the security token",
            "authorization" => "the access key id",
            _ => name,
        };
        format!("{what} holds a line break or another character that no HTTP header may carry")
    })
}

/// The `Host` header for `uri`: in lower case, the port only where it is not the scheme's own.
fn host(uri: &http::Uri) -> Result<String, String> {
    let host = uri.host().ok_or("the request's address has no host")?.to_ascii_lowercase();
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Ok(match uri.port_u16() {
        Some(port) if port != usual => format!("{host}:{port}"),
        _ => host,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Vec<Value> {
        let text = include_str!("../../../tests/data/signing-vectors.json");
        let file: Value = serde_json::from_str(text).unwrap();
        file["vectors"].as_array().unwrap().clone()
    }

    fn text(value: &Value) -> &str {
        value.as_str().unwrap()
    }

    #[test]
    fn every_official_vector_gives_the_official_signature() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 21);
        for vector in &vectors {
            let (input, expected, name) = (&vector["input"], &vector["expected"], text(&vector["name"]));
            // The headers of the vector, with those that the official signer adds by itself.
            let mut headers: Vec<(String, String)> = expected["headers_sent_besides_authorization"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.to_lowercase(), text(value).trim().to_owned()))
                .filter(|(name, _)| !name.contains('_'))
                .collect();
            // Sent in ISO 8859-1 by that signer, and signed in UTF-8.
            for pair in input["headers"].as_array().unwrap() {
                let (name, value) = (text(&pair[0]).to_lowercase(), text(&pair[1]).trim());
                headers.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, old)| value.clone_into(old));
            }
            headers.sort();
            let query: Vec<String> = input["query"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| format!("{}={}", canonical::encode(text(&pair[0])), canonical::encode(text(&pair[1]))))
                .collect();
            let body = text(&input["body"]);
            let given = headers.iter().find(|(name, _)| name == "x-sdk-content-sha256" && !body.is_empty());
            let hash = given.map_or_else(|| canonical::payload_hash(body.as_bytes()), |(_, hash)| hash.clone());
            assert_eq!(hash, text(&expected["payload_hash"]), "{name}");
            assert_eq!(canonical::path(text(&input["path"])), text(&expected["canonical_uri"]), "{name}");
            assert_eq!(canonical::query(&query.join("&")), text(&expected["canonical_query"]), "{name}");
            assert_eq!(canonical::signed_names(&headers), text(&expected["signed_headers"]), "{name}");
            let canonical =
                canonical::request(text(&input["method"]), text(&input["path"]), &query.join("&"), &headers, &hash);
            assert_eq!(canonical, text(&expected["canonical_request"]), "{name}");
            let key = Key::new(text(&input["access_key"]), text(&input["secret_key"]), None);
            let date = &headers.iter().find(|(name, _)| name == "x-sdk-date").unwrap().1;
            let scheme = match &input["derived_auth"] {
                Value::Null => Scheme::Plain,
                derived => Scheme::Derived { region: text(&derived["region"]), service: text(&derived["service"]) },
            };
            let signed = authorization(&key, scheme, date, &canonical, &canonical::signed_names(&headers));
            assert_eq!(signed, text(&expected["authorization"]), "{name}");
        }
    }

    fn request() -> Request<Bytes> {
        let uri = "https://workspace.cn-north-4.myhuaweicloud.com:443/v2/p1/desktops/detail?limit=1";
        Request::get(uri)
            .header("Content-Type", "application/json")
            .header(PROJECT_HEADER, "p1")
            .body(Bytes::new())
            .unwrap()
    }

    #[test]
    fn an_attempt_is_signed_anew_and_leaves_nothing_of_the_one_before() {
        let key = Key::new("AKPUBLICEXAMPLE0001", "secret", Some("t0ken"));
        let (mut request, now) = (request(), Timestamp::UNIX_EPOCH);
        sign(&mut request, &key, now).unwrap();
        let first = request.headers().clone();
        sign(&mut request, &key, now + jiff::SignedDuration::from_secs(1)).unwrap();
        let second = request.headers();
        assert_eq!(first.len(), second.len());
        assert_eq!(
            (&first["x-sdk-date"], &second["x-sdk-date"]),
            (&"19700101T000000Z".parse().unwrap(), &"19700101T000001Z".parse().unwrap())
        );
        assert_ne!(first[AUTHORIZATION], second[AUTHORIZATION]);
        assert_eq!(second[HOST], "workspace.cn-north-4.myhuaweicloud.com");
        assert_eq!(
            (&second["x-project-id"], &second["x-security-token"]),
            (&"p1".parse().unwrap(), &"t0ken".parse().unwrap())
        );
        let authorization = second[AUTHORIZATION].to_str().unwrap();
        assert!(
            authorization.contains("SignedHeaders=host;x-project-id;x-sdk-date;x-security-token,"),
            "{authorization}"
        );
    }

    #[test]
    fn p19_neither_key_nor_signed_request_shows_a_secret() {
        let key = Key::new("AKPUBLICEXAMPLE0001", "SECRETCANARY", Some("TOKENCANARY"));
        let mut request = request();
        sign(&mut request, &key, Timestamp::UNIX_EPOCH).unwrap();
        let shown = format!("{key:?} {request:?} {}", key.shown());
        assert!(!shown.contains("CANARY") && !shown.contains("Signature=") && !shown.contains("PUBLIC"), "{shown}");
        assert_eq!(key.shown(), "…0001");
        assert_eq!(Key::new("short", "s", None).shown(), "…");
    }

    #[test]
    fn a_key_with_a_line_break_is_refused_in_words_without_the_key() {
        let key = Key::new("AK", "SK", Some("a\nb"));
        let problem = sign(&mut request(), &key, Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(problem.starts_with("the security token holds a line break"), "{problem}");
    }

    #[test]
    fn a_port_of_its_own_belongs_to_the_host() {
        for (uri, expected) in [
            ("https://A.example:8443/", "a.example:8443"),
            ("https://a.example:443/", "a.example"),
            ("http://127.0.0.1:80/", "127.0.0.1"),
            ("http://[::1]:8080/", "[::1]:8080"),
        ] {
            assert_eq!(host(&uri.parse().unwrap()).unwrap(), expected);
        }
    }
}
