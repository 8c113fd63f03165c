//! Hosts that are reached without TLS, and never by a proxy.

use reqwest::Url;

/// Where a cloud server asks for keys of its own.
pub(crate) const METADATA_HOST: &str = "169.254.169.254";

/// Whether `url` names this machine: 127.0.0.0/8, `::1` or `localhost`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().map_or(host == "localhost", |address| address.is_loopback())
}
