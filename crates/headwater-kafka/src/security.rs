//! How a connection is encrypted, and by what it says who it is.

use std::fmt;
use std::path::{Path, PathBuf};

use krafka::KafkaBuilder;
use krafka::auth::{AuthConfig, TlsConfig};

use crate::errors::{KafkaError, KafkaErrorKind};

/// Encryption and credentials of a connection; by default neither, for a cluster on a network of one's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Encryption.
    pub tls: Option<Tls>,
    /// A user and a password.
    pub sasl: Option<Sasl>,
}

/// Encryption by TLS; a broker's certificate must be valid for the host that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the only authorities that are trusted; the public ones where there is none.
    pub ca: Option<PathBuf>,
    /// For brokers that ask who connects.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, with the chain below the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Who asks, proved by a password; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself is never sent.
    ScramSha512,
    /// The password is sent as it is; refused without TLS by whoever reads the settings.
    Plain,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Security {
    /// Tells the client.
    pub(crate) fn apply(&self, client: KafkaBuilder) -> Result<KafkaBuilder, KafkaError> {
        let tls = self.tls.as_ref().map(Tls::config).transpose()?;
        Ok(match (&self.sasl, tls) {
            (None, None) => client,
            (None, Some(tls)) => client.security(AuthConfig::ssl(tls)),
            (Some(sasl), None) => client.security(sasl.config()),
            (Some(sasl), Some(tls)) => client.security(sasl.config().with_tls(tls)),
        })
    }
}

impl Tls {
    fn config(&self) -> Result<TlsConfig, KafkaError> {
        let mut config = TlsConfig::new();
        if let Some(ca) = &self.ca {
            config = config.with_ca_cert(readable("the authorities' certificates", ca)?);
        }
        if let Some(client) = &self.client {
            let certificate = readable("this process's certificate", &client.certificate)?;
            config = config.with_client_cert(certificate, readable("its key", &client.key)?);
        }
        Ok(config)
    }
}

impl Sasl {
    fn config(&self) -> AuthConfig {
        match self.mechanism {
            Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(&self.user, &self.password),
            Mechanism::Plain => AuthConfig::sasl_plain(&self.user, &self.password),
        }
    }
}

/// The client would name the path alone, and not what it was to be.
fn readable(what: &str, path: &Path) -> Result<String, KafkaError> {
    let refuse = |why: String| {
        KafkaError::new(
            KafkaErrorKind::Settings,
            format!(
                "{what} cannot be read from {}: {why}; give a PEM file that this process may read",
                path.display()
            ),
        )
    };
    std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
    path.to_str().map(str::to_owned).ok_or_else(|| refuse("its name is not UTF-8".to_owned()))
}
