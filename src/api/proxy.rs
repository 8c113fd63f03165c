//! Which proxy a request goes through: from the environment alone, and never to this machine itself.
//!
//! The variables are read once: what is used is what people are told.

use std::net::IpAddr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::env::Env;
use super::hosts::{METADATA_HOST, is_loopback};
use crate::error::Error;

/// The proxy settings of the environment: `HTTPS_PROXY` (else `ALL_PROXY`) and `NO_PROXY`, in capitals or not.
/// Plain HTTP goes to this machine alone, so that `HTTP_PROXY` has no use.
#[derive(Clone, Default)]
pub(crate) struct Proxies(Option<Arc<Proxy>>);

/// A proxy, and what does not go through it.
struct Proxy {
    /// The variable that names it.
    variable: &'static str,
    /// Without user and password.
    url: Url,
    login: Option<Login>,
    direct: Vec<Direct>,
}

/// A user and a password.
type Login = (String, SecretString);

impl Proxies {
    /// # Errors
    /// Where the variable holds no address that a proxy can have. The address is not repeated: it may hold a password.
    pub(crate) fn from_env(env: &dyn Env) -> Result<Self, Error> {
        let named = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
            .into_iter()
            .find_map(|name| env.var(name).map(|value| (name, value)));
        let Some((variable, value)) = named else { return Ok(Self::default()) };
        let wrong = |problem: &str| Error::Setting {
            name: variable.to_owned(),
            origin: "environment".to_owned(),
            problem: problem.to_owned(),
        };
        let (url, login) = address(&value).map_err(wrong)?;
        let list = env.first(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let direct = list.split([',', ' ', '\t']).filter_map(Direct::parse).collect();
        Ok(Self(Some(Arc::new(Proxy { variable, url, login, direct }))))
    }

    /// The proxy that requests to `endpoint` go through, user and password hidden; `None` where they go directly.
    pub(crate) fn in_use(&self, endpoint: &str) -> Option<String> {
        let proxy = self.0.as_ref().filter(|proxy| Url::parse(endpoint).is_ok_and(|url| proxy.takes(&url)))?;
        Some(format!("{} ({})", proxy.url.as_str().trim_end_matches('/'), proxy.variable))
    }

    /// For the HTTP client.
    pub(super) fn build(&self) -> Option<reqwest::Proxy> {
        let proxy = self.0.clone()?;
        let login = proxy.login.clone();
        let built = reqwest::Proxy::custom(move |url| proxy.takes(url).then(|| proxy.url.clone()));
        Some(match login {
            Some((user, password)) => built.basic_auth(&user, password.expose_secret()),
            None => built,
        })
    }
}

impl Proxy {
    /// Never this machine, nor the cloud's metadata service, whose answers are meant for this machine alone.
    fn takes(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let port = url.port_or_known_default();
        url.scheme() == "https"
            && !is_loopback(url)
            && host != METADATA_HOST
            && !self.direct.iter().any(|direct| direct.holds(host, port))
    }
}

/// Takes an address apart, without a scheme that of an HTTP proxy. A user or password may hold any character: all up to
/// the last `@` belongs to them, and a `%` that begins no escape stands for itself.
fn address(value: &str) -> Result<(Url, Option<Login>), &'static str> {
    let (scheme, rest) = match value.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => (scheme, rest),
        _ => ("http", value),
    };
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err("only http:// and https:// proxies are supported; give one of these, or unset the variable");
    }
    let (login, host) = match rest.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, rest),
    };
    let none = "this is not the address of a proxy; write http://HOST:PORT, an IPv6 address in [ ]";
    let host = host.split(['/', '?', '#']).next().unwrap_or(host);
    let url = Url::parse(&format!("{scheme}://{host}")).map_err(|_| none)?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let login = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        (decoded(user), decoded(password).into())
    });
    Ok((url, login))
}

/// An entry of `NO_PROXY`, as curl takes it, or with a port, as others do.
#[derive(Debug, PartialEq, Eq)]
enum Direct {
    /// `*`
    Everything,
    /// A host and all hosts beneath it: `corp`, `.corp` and `*.corp` are the same.
    Host(String, Option<u16>),
    Address(IpAddr, Option<u16>),
    /// An address, and how many bits of it count: `10.0.0.0/8`.
    Network(IpAddr, u8),
}

impl Direct {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            return Some(Self::Network(unbracketed(address).parse().ok()?, bits.parse().ok()?));
        }
        if let Ok(address) = unbracketed(&entry).parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry.as_str(), None),
        };
        if let Ok(address) = unbracketed(host).parse() {
            return Some(Self::Address(address, port));
        }
        let host = host.trim_start_matches("*.").trim_start_matches('.').trim_end_matches('.');
        (!host.is_empty()).then(|| Self::Host(host.to_owned(), port))
    }

    /// * `host`: in lower case, an IPv6 address without brackets.
    fn holds(&self, host: &str, port: Option<u16>) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match self {
            Self::Everything => true,
            Self::Host(name, wanted) => {
                let beneath = host.strip_suffix(name.as_str());
                fits(wanted) && beneath.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Self::Address(address, wanted) => fits(wanted) && host.parse() == Ok(*address),
            Self::Network(network, bits) => host.parse().is_ok_and(|address| is_within(address, *network, *bits)),
        }
    }
}

fn unbracketed(address: &str) -> &str {
    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address)
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |length: u8, differing: u32| bits <= length && differing >= u32::from(bits);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => same(32, (address.to_bits() ^ network.to_bits()).leading_zeros()),
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            same(128, (address.to_bits() ^ network.to_bits()).leading_zeros())
        }
        _ => false,
    }
}

/// A password may be in it.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Proxies").field(&self.0.as_ref().map(|proxy| proxy.url.as_str())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(env: &dyn Env) -> Proxies {
        Proxies::from_env(env).unwrap()
    }

    /// User and password of an address.
    fn login(value: &str) -> Option<(String, String)> {
        let (user, password) = address(value).unwrap().1?;
        Some((user, password.expose_secret().to_owned()))
    }

    #[test]
    fn p19_the_proxy_is_shown_without_user_and_password() {
        for value in ["http://bob:s3cret@proxy.corp:3128", "bob:s3cret@proxy.corp:3128", " http://proxy.corp:3128/x\n"]
        {
            let proxies = proxies(&[("HTTPS_PROXY", value)]);
            let shown = proxies.in_use("https://workspace.cn-north-4.myhuaweicloud.com");
            assert_eq!(shown.as_deref(), Some("http://proxy.corp:3128 (HTTPS_PROXY)"));
            assert!(!format!("{proxies:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_user_and_a_password_may_hold_any_character() {
        for (value, user, password) in [
            (r"http://CORP\bob:pass@p:1", r"CORP\bob", "pass"),
            ("http://bob:p@ss:w@rd@p:1", "bob", "p@ss:w@rd"),
            ("http://bob:100%@p:1", "bob", "100%"),
            ("http://bob:100%25%zz%40@p:1", "bob", "100%%zz@"),
            ("http://bob%40corp:a%3Ab/c?d#e@p:1", "bob@corp", "a:b/c?d#e"),
            ("bob:密码@[fd00::1]:3128", "bob", "密码"),
            ("http://bob@p:1", "bob", ""),
        ] {
            assert_eq!(login(value), Some((user.to_owned(), password.to_owned())), "{value}");
        }
        assert_eq!(login("http://p:1"), None);
        assert_eq!(address("bob:x@[fd00::1]:3128").unwrap().0.as_str(), "http://[fd00::1]:3128/");
    }

    #[test]
    fn this_machine_and_the_metadata_service_are_never_asked_through_a_proxy() {
        let proxies = proxies(&[("ALL_PROXY", "proxy.corp:3128")]);
        for local in [
            "https://127.0.0.1:8443",
            "https://127.9.9.9",
            "https://localhost",
            "https://[::1]:1",
            "https://169.254.169.254",
        ] {
            assert_eq!(proxies.in_use(local), None, "{local}");
        }
        assert!(proxies.in_use("https://iam.myhuaweicloud.com").is_some());
    }

    #[test]
    fn what_no_proxy_names_goes_directly() {
        for (list, direct, through) in [
            ("*", "https://iam.example", ""),
            (".corp", "https://iam.corp", "https://iam.notcorp"),
            ("*.corp", "https://a.b.corp.", "https://corp.example"),
            ("corp", "https://corp:8443", "https://xcorp"),
            ("Iam.Corp:8443", "https://IAM.corp:8443", "https://iam.corp"),
            ("other, iam.corp:443", "https://iam.corp", "https://iam.corp:8443"),
            ("a b\tcorp", "https://iam.corp", "https://c.example"),
            ("10.0.0.0/8", "https://10.1.2.3", "https://11.1.2.3"),
            ("10.1.2.3", "https://10.1.2.3:8443", "https://10.1.2.4"),
            ("10.1.2.3:443", "https://10.1.2.3", "https://10.1.2.3:8443"),
            ("fd00::/8", "https://[fd12::1]:8443", "https://[fe80::1]"),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443", "https://[2001:db8::1]"),
            ("2001:db8::1", "https://[2001:db8::1]", "https://[2001:db8::2]"),
            ("0.0.0.0/0", "https://8.8.8.8", "https://[2001:db8::1]"),
            ("10.0.0.0/99, /, :, ::/x", "", "https://10.0.0.0"),
        ] {
            let proxies = proxies(&[("https_proxy", "http://p:1"), ("NO_PROXY", list)]);
            assert_eq!(proxies.in_use(direct), None, "{list}: {direct}");
            assert_eq!(proxies.in_use(through).is_some(), !through.is_empty(), "{list}: {through}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_in_words_that_hold_no_password() {
        for value in [
            "socks5://bob:s3cret@p:1",
            "http://bob:s3cret@",
            "http://bob:s3cret@p:99999",
            "http://bob:s3cret@fd00::1:1",
        ] {
            let text = Proxies::from_env(&[("HTTPS_PROXY", value)]).unwrap_err().to_string();
            assert!(text.contains("HTTPS_PROXY") && !text.contains("s3cret"), "{text}");
        }
    }
}
