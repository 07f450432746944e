//! Where the service is on the web: what short addresses begin with, and which addresses are its own.
//!
//! What a client says of that, in `Host`, is good for the answer to that client alone. A service behind a proxy is told
//! its address by its operator.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::{HeaderMap, header};
use headwater_http::codes;
use headwater_http::problem::Problem;

use crate::domain::{Code, Place};

/// The ports of http and https, which a proxy takes for one service.
const WEB: [u16; 2] = [80, 443];

/// Where the service is reached by those who follow links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

/// A text that is no address of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wanted is http:// or https:// and a host, and nothing after it, such as https://sho.rt")]
pub struct InvalidPublicUrl;

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let origin = text.strip_suffix('/').unwrap_or(text);
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let rest = rest.ok_or(InvalidPublicUrl)?;
        let is_origin = !rest.is_empty() && !rest.contains(['/', '?', '#', '@', '\\', ' ']);
        if is_origin && Place::of(origin).is_some() {
            Ok(Self(origin.to_owned()))
        } else {
            Err(InvalidPublicUrl)
        }
    }
}

/// What the service knows of its own address.
#[derive(Debug, Clone)]
pub struct Site {
    listen: SocketAddr,
    public: Option<PublicUrl>,
}

impl Site {
    /// A service that listens there, and is reached at `public` if that is said.
    pub fn new(listen: SocketAddr, public: Option<PublicUrl>) -> Self {
        Self { listen, public }
    }

    /// This service as a request addressed it.
    ///
    /// # Errors
    ///
    /// If the request's `Host` names none.
    pub(super) fn addressed(&self, headers: &HeaderMap) -> Result<Addressed<'_>, Problem> {
        let asked = match headers.get(header::HOST) {
            Some(host) => host.to_str().ok().map(|host| format!("http://{host}")),
            None => Some(format!("http://{}", self.listen)),
        };
        let asked = asked.and_then(|asked| asked.parse().ok());
        let asked =
            asked.ok_or_else(|| Problem::new(&codes::INVALID_HEADER, "Host names no host").field("host"))?;
        Ok(Addressed { site: self, asked })
    }
}

/// The service under the address that a request used.
pub(super) struct Addressed<'a> {
    site: &'a Site,
    asked: PublicUrl,
}

impl Addressed<'_> {
    /// The short address of a code.
    pub(super) fn short(&self, code: &Code) -> String {
        let PublicUrl(origin) = self.site.public.as_ref().unwrap_or(&self.asked);
        format!("{origin}/{code}")
    }

    /// Whether an address is this service's own.
    pub(super) fn is_own(&self, place: &Place) -> bool {
        let named = [Some(&self.asked), self.site.public.as_ref()].into_iter().flatten();
        let mut named = named.filter_map(|PublicUrl(origin)| Place::of(origin));
        named.any(|own| own.host == place.host && is_same_port(own.port, place.port))
            || (place.port == self.site.listen.port() && reaches(self.site.listen.ip(), &place.host))
    }
}

fn is_same_port(a: u16, b: u16) -> bool {
    a == b || (WEB.contains(&a) && WEB.contains(&b))
}

/// Whether who asks for `host` on this machine comes to a service that listens at `listen`.
fn reaches(listen: IpAddr, host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    let local = listen.is_loopback() || listen.is_unspecified();
    match name.parse::<IpAddr>() {
        Ok(ip) => ip == listen || (local && is_here(ip.to_canonical())),
        Err(_) => local && (name == "localhost" || name.ends_with(".localhost")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn site(listen: &str, public: Option<&str>) -> Site {
        Site::new(listen.parse().unwrap(), public.map(|url| url.parse().unwrap()))
    }

    fn host(host: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())])
    }

    #[test]
    fn a_short_address_is_where_the_client_asked_unless_the_operator_says_otherwise() {
        let code = Code::alias("a").unwrap();
        let here = site("127.0.0.1:8080", None);
        assert_eq!(here.addressed(&host("localhost:8080")).unwrap().short(&code), "http://localhost:8080/a");
        assert_eq!(here.addressed(&HeaderMap::new()).unwrap().short(&code), "http://127.0.0.1:8080/a");
        for wrong in ["a/b", "", "a b", "a@b"] {
            assert!(here.addressed(&host(wrong)).is_err(), "{wrong}");
        }
        let public = site("127.0.0.1:8080", Some("https://sho.rt/"));
        assert_eq!(public.addressed(&host("localhost:8080")).unwrap().short(&code), "https://sho.rt/a");
    }

    #[test]
    fn own_addresses_are_known_however_they_are_written() {
        let site = site("127.0.0.1:8080", Some("https://sho.rt"));
        let asked = host("links.example:8080");
        let addressed = site.addressed(&asked).unwrap();
        let is_own = |url: &str| addressed.is_own(&Place::of(url).unwrap());
        for own in [
            "http://localhost:8080/a",
            "http://LOCALHOST.:8080/a",
            "http://127.0.0.1:8080",
            "http://127.1:8080",
            "http://2130706433:8080/",
            "http://[::1]:8080/",
            "http://[::ffff:127.0.0.1]:8080/",
            "http://0:8080/",
            "http://user@sho.rt/a",
            "https://SHO.RT/",
            "https://sho%2Ert/",
            "http://links.example:8080/x",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "http://localhost:8081/",
            "https://sho.rt:8443/",
            "http://sho.rt.example/",
            "http://sho.rt@a.example/",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }

    #[test]
    fn a_public_address_is_an_origin() {
        for good in ["https://sho.rt", "http://localhost:8080/", "http://[::1]:80"] {
            assert!(good.parse::<PublicUrl>().is_ok(), "{good}");
        }
        for bad in
            ["", "sho.rt", "ftp://sho.rt", "https://", "https://sho.rt/a", "https://a@sho.rt", "https://a b"]
        {
            assert_eq!(bad.parse::<PublicUrl>(), Err(InvalidPublicUrl), "{bad}");
        }
    }
}
