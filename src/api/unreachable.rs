//! Why no connection came about: one sentence for each way in which that happens, with what to do about it.
//!
//! The sentence is a part of the cause from the start, so that it is told at the first request and in the middle of a
//! run alike.

use std::error::Error;
use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// What kept a connection from coming about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    NameUnknown,
    Refused,
    TimedOut,
    NoRoute,
    /// Closed or reset before it was ready.
    Closed,
    IssuerUnknown,
    /// A server shows the certificate of an authority as its own.
    Authority,
    WrongName,
    Expired,
    NotYetValid,
    PlainHttp,
    OldTls,
    /// The proxy in between answers, and makes no connection.
    ProxyRefuses,
    Other,
}

/// What each is called, and what to type. `HOST` stands for the host that is meant.
pub const SENTENCES: [(Unreachable, &str, &str); 14] = [
    (
        Unreachable::NameUnknown,
        "the name of the host is not known here",
        "check it in --region and --endpoint, and by `getent hosts HOST`; behind a proxy set HTTPS_PROXY=http://PROXY:PORT",
    ),
    (Unreachable::Refused, "nobody listens there", "check host and port in --endpoint, and that the service is up"),
    (
        Unreachable::TimedOut,
        "nothing came back in time",
        "a firewall may drop it: ask for the way to be opened, or set HTTPS_PROXY=http://PROXY:PORT",
    ),
    (
        Unreachable::NoRoute,
        "this machine has no way to that address",
        "check its network by `ip route`, and --endpoint; behind a proxy set HTTPS_PROXY=http://PROXY:PORT",
    ),
    (
        Unreachable::Closed,
        "the connection was closed before anything was sent",
        "check the port in --endpoint, and whether a firewall or a proxy in between ends it",
    ),
    (
        Unreachable::IssuerUnknown,
        "this machine does not know the issuer of the certificate",
        "give the issuer's certificate with --ca-file FILE, as private clouds and inspecting proxies need",
    ),
    (
        Unreachable::Authority,
        "the server shows the certificate of an authority (CA:TRUE) as its own",
        "whoever runs it must have one issued for the server; a self-signed one is made with `openssl req -x509 -addext \
         basicConstraints=critical,CA:FALSE`",
    ),
    (
        Unreachable::WrongName,
        "the certificate is for another name",
        "write the host in --endpoint as the certificate has it",
    ),
    (
        Unreachable::Expired,
        "the certificate has ended, or this machine's clock is ahead",
        "compare the clock by `date -u`; else whoever runs the server must renew it",
    ),
    (
        Unreachable::NotYetValid,
        "the certificate is not valid yet, or this machine's clock is behind",
        "compare the clock by `date -u`, and set it by `timedatectl set-ntp true`",
    ),
    (
        Unreachable::PlainHttp,
        "the server does not speak https there",
        "check the port in --endpoint; behind it is plain HTTP, or no HTTP at all",
    ),
    (Unreachable::OldTls, "the server speaks no TLS that is safe", "it must offer TLS 1.2 or newer; check --endpoint"),
    (
        Unreachable::ProxyRefuses,
        "the proxy makes no connection to it",
        "have HOST allowed in the proxy, or go around it with NO_PROXY=HOST",
    ),
    (Unreachable::Other, "no connection came about", "check the network, the proxy, --region and --endpoint"),
];

impl Unreachable {
    /// By the errors beneath the HTTP client's own.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        let mut found = if error.is_timeout() { Self::TimedOut } else { Self::Other };
        while let Some(cause) = next {
            found = Self::at(cause).unwrap_or(found);
            next = cause.source();
        }
        found
    }

    fn at(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return Self::of_tls(error);
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            // Its source is that of what it wraps.
            let inner = error.get_ref().and_then(|inner| Self::at(inner));
            return inner.or_else(|| Self::of_io(error.kind()));
        }
        // These have no type that can be named.
        match cause.to_string().as_str() {
            "dns error" => Some(Self::NameUnknown),
            "tunnel error: unsuccessful" | "tunnel error: unexpected end of file" => Some(Self::ProxyRefuses),
            _ => None,
        }
    }

    const fn of_io(kind: ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::ConnectionRefused => Some(Self::Refused),
            ErrorKind::TimedOut => Some(Self::TimedOut),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
                Some(Self::NoRoute)
            }
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => Some(Self::Closed),
            _ => None,
        }
    }

    fn of_tls(error: &rustls::Error) -> Option<Self> {
        use CertificateError as Certificate;
        match error {
            rustls::Error::InvalidCertificate(why) => match why {
                Certificate::UnknownIssuer => Some(Self::IssuerUnknown),
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => Some(Self::WrongName),
                Certificate::Expired | Certificate::ExpiredContext { .. } => Some(Self::Expired),
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Some(Self::NotYetValid),
                // Of the library beneath, whose type can't be named.
                Certificate::Other(why) if why.to_string() == "CaUsedAsEndEntity" => Some(Self::Authority),
                _ => None,
            },
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Some(Self::PlainHttp),
            rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
                Some(Self::OldTls)
            }
            _ => None,
        }
    }

    /// The sentence, so that what it says can be typed.
    ///
    /// * `host`: whom no connection came about with.
    pub(super) fn in_words(self, host: &str) -> String {
        let sentence = SENTENCES.iter().find(|(way, ..)| *way == self);
        sentence.map_or_else(String::new, |(_, what, to_do)| format!("{what}; {}", to_do.replace("HOST", host)))
    }
}
