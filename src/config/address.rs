//! Settings that become part of an address: a wrong one must not lead to another host (P20).

use crate::text::quoted;

/// Reads a region's id. It becomes part of a host name, so nothing else may slip in (P20).
pub(crate) fn region(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let text = text.trim();
    if text.is_empty() || text.len() > 63 || !text.bytes().all(fits) || text.starts_with('-') || text.ends_with('-') {
        return Err(format!("{} is not the id of a region: write it as in `cn-north-4`", quoted(text)));
    }
    Ok(text.to_owned())
}

/// Reads a project's id. It becomes part of a path.
pub(crate) fn project_id(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let text = text.trim();
    if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
        return Err(format!(
            "{} is not the id of a project: it has letters, digits, `-` and `_` only, 64 at most (a project's name \
             is not its id)",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

/// Reads where the API is: `https://host[:port]`, or plain `http://` to this machine (P20). No slash at its end.
pub(crate) fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim();
    let example = "write it as in `https://workspace.cn-north-4.myhuaweicloud.com`";
    let uri: http::Uri = text.parse().map_err(|_| format!("{} is not an address: {example}", shown_address(text)))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("{} is not a whole address: {example}", shown_address(text)));
    };
    if authority.as_str().contains('@') {
        return Err(format!("the address holds a user name or password, which are never settings: {example}"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
        return Err(format!("{} has more than a host and a port: {example}", shown_address(text)));
    }
    match scheme {
        "https" => {}
        "http" if is_loopback(authority.host()) => {}
        "http" => {
            return Err(format!(
                "{} is not encrypted: write `https://` (plain `http://` goes to this machine alone)",
                shown_address(text)
            ));
        }
        _ => return Err(format!("{} is not an https address: {example}", shown_address(text))),
    }
    Ok(format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()))
}

/// As [`endpoint`]; IAM's is often given with the version of its API, which is taken off.
pub(crate) fn iam_endpoint(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    endpoint(text.strip_suffix("/v3").unwrap_or(text))
}

/// An address in a message, without what may be a password.
fn shown_address(text: &str) -> String {
    if text.contains('@') { "the address".to_owned() } else { quoted(text) }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p20_plain_http_goes_to_this_machine_alone() {
        for (text, read) in [
            ("https://workspace.cn-north-4.myhuaweicloud.com/", "https://workspace.cn-north-4.myhuaweicloud.com"),
            ("https://Host:8443", "https://host:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(endpoint(text).as_deref(), Ok(read));
        }
        for wrong in [
            "",
            "workspace.cn-north-4.myhuaweicloud.com",
            "http://example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "ftp://example.com",
            "https://",
            "https://h/v2",
            "https://h?x=1",
            "https://h#x",
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
        assert_eq!(iam_endpoint("https://iam.example.com/v3/").as_deref(), Ok("https://iam.example.com"));
    }

    #[test]
    fn p19_a_password_in_an_address_is_refused_and_not_repeated() {
        for address in ["https://me:hunter2@h", "ftp://me:hunter2@h", "https://me:hunter2@h/x y"] {
            assert!(!endpoint(address).unwrap_err().contains("hunter2"));
        }
    }

    #[test]
    fn p20_a_region_and_a_project_can_name_nothing_else() {
        assert_eq!(region("cn-north-4").as_deref(), Ok("cn-north-4"));
        for wrong in ["", "a.b", "evil.com/", "a@b", "CN-NORTH-4", "-a", "a-"] {
            assert!(region(wrong).is_err(), "{wrong}");
        }
        assert!(project_id("0a1b2c").is_ok());
        for wrong in ["", "a/b", "a b", "../x"] {
            assert!(project_id(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn p18_no_text_makes_a_reader_panic(text in any::<String>()) {
            _ = (endpoint(&text), iam_endpoint(&text), region(&text), project_id(&text));
        }
    }
}
