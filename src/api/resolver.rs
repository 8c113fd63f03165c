//! Names of hosts, looked up by the program itself.
//!
//! A static program must not ask the C library for them: glibc loads shared libraries for that (NSS), and those have
//! to fit the version that the program was built with. This reads `/etc/hosts` and `/etc/resolv.conf` instead.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks names up as the machine's own files say. Without them nothing is asked: no server of somebody else's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolver {
    /// Made at the first look-up, inside the runtime.
    made: Arc<OnceLock<Result<TokioResolver, String>>>,
}

impl Resolver {
    fn get(&self) -> Result<&TokioResolver, String> {
        let made = self.made.get_or_init(|| {
            let unusable = |error| format!("names can't be looked up: /etc/resolv.conf: {error}");
            let mut builder = TokioResolver::builder_tokio().map_err(unusable)?;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.build().map_err(unusable)
        });
        made.as_ref().map_err(Clone::clone)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.get()?.lookup_ip(name.as_str()).await?;
            let addresses: Vec<SocketAddr> = found.iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_found_without_a_server() {
        let name = "localhost".parse().unwrap();
        let mut found = Resolver::default().resolve(name).await.unwrap();
        assert!(found.any(|address| address.ip().is_loopback()));
    }
}
