//! A certificate authority of its own, with certificates for brokers and clients, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::error::{Error, Result};

/// PEM files that a test hands to a client.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that signed the broker's and the client's certificate.
    pub ca: PathBuf,
    /// An authority that signed none of them.
    pub stranger_ca: PathBuf,
    /// A client's certificate, whose principal is `User:CN=client`.
    pub client_certificate: PathBuf,
    /// The key of the client's certificate.
    pub client_key: PathBuf,
    /// A client's certificate of the strange authority.
    pub stranger_certificate: PathBuf,
    /// The key of the strange certificate.
    pub stranger_key: PathBuf,
    /// The broker's key and certificate in one file, as Kafka's PEM key stores have it.
    pub(crate) broker: PathBuf,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// Makes them in `folder`; the broker's is for `host`, or for the loopback address.
    pub(crate) fn write(folder: &Path, host: Option<&str>) -> Result<Certificates> {
        let hosts =
            host.map_or_else(|| vec!["localhost".into(), "127.0.0.1".into()], |host| vec![host.into()]);
        make(folder, hosts).map_err(|error| Error::new(format!("cannot make certificates: {error}")))
    }
}

fn make(folder: &Path, hosts: Vec<String>) -> std::result::Result<Certificates, Box<dyn std::error::Error>> {
    let (own, strange) = (authority("Headwater tests")?, authority("A stranger")?);
    let (broker, broker_key) = signed(&own, "broker", hosts)?;
    let (client, client_key) = signed(&own, "client", vec![])?;
    let (stranger, stranger_key) = signed(&strange, "client", vec![])?;
    let write = |name: &str, text: String| {
        let file = folder.join(name);
        fs::write(&file, text).map(|()| file)
    };
    Ok(Certificates {
        ca: write("ca.pem", own.pem)?,
        stranger_ca: write("stranger-ca.pem", strange.pem)?,
        client_certificate: write("client.pem", client)?,
        client_key: write("client.key", client_key)?,
        stranger_certificate: write("stranger.pem", stranger)?,
        stranger_key: write("stranger.key", stranger_key)?,
        broker: write("broker.pem", broker_key + &broker)?,
    })
}

fn authority(name: &str) -> std::result::Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::new(vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    Ok(Authority { pem: params.self_signed(&key)?.pem(), issuer: Issuer::new(params, key) })
}

/// A certificate and its key.
fn signed(
    by: &Authority,
    name: &str,
    hosts: Vec<String>,
) -> std::result::Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, &by.issuer)?.pem(), key.serialize_pem()))
}
