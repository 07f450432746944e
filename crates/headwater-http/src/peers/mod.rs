//! How the instances of an app reach each other: HTTP between their servers, signed with a secret that they share.
//!
//! ```text
//! POST /-/peers/{app}                    a question: its bytes are the body
//! headwater-peer: v1 MS NONCE MAC        when it was asked (ms since 1970), 32 hex digits, HMAC-SHA256 as 64
//! headwater-within-ms: N                 how long its answer is waited for
//! traceparent: ...                       W3C trace context, where there is one
//!
//! 200, headwater-peer: v1 MAC            the answer's bytes; the MAC covers the question's nonce too
//! 4xx, 503                               not served: nothing happened
//! ```
//!
//! Nothing is encrypted: where others can listen on the way, let a proxy or the network do that. A question that is
//! repeated within a minute is served again, which changes nothing: a command has one effect at most. Without a secret
//! questions are signed with an empty one, and only on a loopback address.
//!
//! - [`join`]: makes a process one of several;
//! - `auth`: the signatures; pure;
//! - `client` and `server`: the two ends.

mod auth;
mod client;
mod server;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use headwater::Headwater;
use headwater::config::Config;
use headwater::peers::{PeerAddress, PeerService};

use self::auth::Key;
use self::client::HttpPeers;
pub(crate) use self::server::QUESTION_BYTES_MAX;

/// The path below which instances ask each other.
pub(crate) const PATH: &str = "/-/peers/";

/// Why a process cannot be one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// Other machines reach the address, and no secret tells instances from strangers.
    NoSecret(String),
    /// Every address is listened on, which says nothing of where others reach this one.
    NoAddress(SocketAddr),
}

impl std::fmt::Display for JoinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSecret(address) => write!(
                f,
                "other machines reach {address}, and with it the questions of instances to each other: set \
                 HEADWATER_PEER_SECRET, the same for all of them"
            ),
            Self::NoAddress(address) => write!(
                f,
                "{address} is every address of this machine: say with --advertise where other instances reach it"
            ),
        }
    }
}

impl std::error::Error for JoinError {}

/// Makes a process one of the instances that share a log, as its settings say; the router answers the others.
///
/// `listening` is the address that the router will be served on. On a log that is one process's own nothing is to join,
/// and the router answers nothing.
///
/// # Errors
///
/// [`JoinError`] if others could not reach it, or strangers could.
pub fn join(
    headwater: Headwater,
    listening: SocketAddr,
    config: &Config,
) -> Result<(Headwater, Router), JoinError> {
    let Some(name) = headwater.name().map(str::to_owned) else { return Ok((headwater, Router::new())) };
    let address = address_of(listening, config)?;
    let key = Key::new(config.peer_secret.as_ref().map_or("", |secret| secret.reveal()));
    let peers = Arc::new(HttpPeers::new(key.clone()));
    tracing::info!(instance = name, address, "one of several instances");
    let headwater = headwater.among(name, PeerAddress::new(address), peers);
    let service: PeerService = headwater.peer_service().expect("it is one of several");
    Ok((headwater, server::routes(service, key)))
}

/// Where others reach this instance: not beyond this machine without a secret.
fn address_of(listening: SocketAddr, config: &Config) -> Result<String, JoinError> {
    let address = match &config.advertise {
        Some(address) => address.clone(),
        None if listening.ip().is_unspecified() => return Err(JoinError::NoAddress(listening)),
        None => listening.to_string(),
    };
    let served = listening.to_string();
    let outside = [&served, &address].into_iter().find(|address| !is_loopback(address));
    match outside {
        Some(outside) if config.peer_secret.is_none() => Err(JoinError::NoSecret(outside.clone())),
        _ => Ok(address),
    }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.map_or(host == "localhost", |ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use headwater::config::Secret;

    use super::*;

    #[test]
    fn nothing_beyond_this_machine_is_joined_without_a_secret() {
        let told = |listening: &str, advertise: Option<&str>, secret: bool| {
            let config = Config {
                advertise: advertise.map(str::to_owned),
                peer_secret: secret.then(|| Secret::new("a secret of sixteen characters or more")),
                ..Config::default()
            };
            address_of(listening.parse().expect("an address"), &config).map_err(|error| error.to_string())
        };
        assert_eq!(told("127.0.0.1:80", None, false), Ok("127.0.0.1:80".into()));
        assert_eq!(told("[::1]:80", Some("localhost:81"), false), Ok("localhost:81".into()));
        assert_eq!(told("10.0.0.1:80", None, true), Ok("10.0.0.1:80".into()));
        assert_eq!(told("0.0.0.0:80", Some("shop-1:80"), true), Ok("shop-1:80".into()));
        for (listening, advertise, secret, part) in [
            ("10.0.0.1:80", None, false, "HEADWATER_PEER_SECRET"),
            ("0.0.0.0:80", Some("127.0.0.1:80"), false, "0.0.0.0:80"),
            ("127.0.0.1:80", Some("shop-1:80"), false, "shop-1:80"),
            ("0.0.0.0:80", None, true, "--advertise"),
        ] {
            let refused = told(listening, advertise, secret).expect_err(listening);
            assert!(refused.contains(part), "{refused}");
        }
    }
}
