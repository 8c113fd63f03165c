//! Which proxy a request goes through: from the environment alone, and never to this machine itself.

use hyper_util::client::proxy::matcher::Matcher;

use super::env::Env;
use crate::error::Error;

/// Never asked through a proxy, whatever `NO_PROXY` says: this machine, and the cloud's metadata service, whose
/// answers are meant for this machine alone.
const LOCAL: &str = "localhost,127.0.0.0/8,::1,169.254.169.254";

/// The proxy settings of the environment: `HTTPS_PROXY` (else `ALL_PROXY`) and `NO_PROXY`, in capitals or not.
/// Plain HTTP goes to this machine alone, so that `HTTP_PROXY` has no use.
#[derive(Clone, Default)]
pub(crate) struct Proxies {
    /// The variable's name and its value, which may hold a password.
    https: Option<(&'static str, String)>,
    none: String,
}

impl Proxies {
    pub(crate) fn from_env(env: &dyn Env) -> Self {
        let https = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
            .into_iter()
            .find_map(|name| env.var(name).map(|value| (name, value)));
        let none = match env.first(&["NO_PROXY", "no_proxy"]) {
            Some(given) => format!("{LOCAL},{given}"),
            None => LOCAL.to_owned(),
        };
        Self { https, none }
    }

    /// The proxy that requests to `endpoint` go through, user and password hidden; `None` where they go directly.
    pub(crate) fn in_use(&self, endpoint: &str) -> Option<String> {
        let (name, value) = self.https.as_ref()?;
        let endpoint = endpoint.parse::<http::Uri>().ok()?;
        let matcher = Matcher::builder().https(value.as_str()).no(self.none.as_str()).build();
        let found = matcher.intercept(&endpoint)?;
        let uri = found.uri();
        let host = uri
            .authority()
            .map_or("?", |authority| authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host));
        Some(format!("{}://{host} ({name})", uri.scheme_str().unwrap_or("http")))
    }

    /// # Errors
    /// Where the variable holds no address that a proxy can have.
    pub(super) fn build(&self) -> Result<Option<reqwest::Proxy>, Error> {
        let Some((name, value)) = &self.https else { return Ok(None) };
        let wrong = |problem: &str| Error::Setting {
            name: (*name).to_owned(),
            origin: "environment".to_owned(),
            problem: problem.to_owned(),
        };
        if let Some((scheme, _)) = value.split_once("://")
            && !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https")
        {
            return Err(wrong(
                "only http:// and https:// proxies are supported; give one of these, or unset the variable",
            ));
        }
        // The address is not repeated in the message: it may hold a password.
        let proxy = reqwest::Proxy::https(value.as_str())
            .map_err(|_| wrong("this is not the address of a proxy; write http://HOST:PORT"))?;
        Ok(Some(proxy.no_proxy(reqwest::NoProxy::from_string(&self.none))))
    }
}

/// The password may be in it.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies").field("https", &self.https.as_ref().map(|(name, _)| name)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p19_the_proxy_is_shown_without_user_and_password() {
        let proxies = Proxies::from_env(&[("HTTPS_PROXY", "http://bob:s3cret@proxy.corp:3128")]);
        assert_eq!(
            proxies.in_use("https://workspace.cn-north-4.myhuaweicloud.com").as_deref(),
            Some("http://proxy.corp:3128 (HTTPS_PROXY)")
        );
        assert!(!format!("{proxies:?}").contains("s3cret"));
    }

    #[test]
    fn this_machine_and_the_metadata_service_are_never_asked_through_a_proxy() {
        let proxies = Proxies::from_env(&[("ALL_PROXY", "proxy.corp:3128")]);
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
    fn no_proxy_is_heeded() {
        let proxies =
            Proxies::from_env(&[("https_proxy", "http://p:1"), ("NO_PROXY", ".myhuaweicloud.com, 10.0.0.0/8")]);
        assert_eq!(proxies.in_use("https://iam.myhuaweicloud.com"), None);
        assert_eq!(proxies.in_use("https://10.1.2.3"), None);
        assert!(proxies.in_use("https://iam.hcs.example").is_some());
    }

    #[test]
    fn a_proxy_of_another_kind_is_refused_in_words_that_hold_no_password() {
        let proxies = Proxies::from_env(&[("HTTPS_PROXY", "socks5://bob:s3cret@p:1")]);
        let text = proxies.build().unwrap_err().to_string();
        assert!(text.contains("HTTPS_PROXY") && !text.contains("s3cret"), "{text}");
    }
}
