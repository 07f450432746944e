//! How a Kafka cluster is reached and what is asked of it: settings that mean something on Kafka alone.
//!
//! Settings that need each other are checked together, so that a half of them is an error and never a weaker
//! connection. The password is shown nowhere: not by `Debug`, not in an error, and no flag takes it, since flags can
//! be seen by every user of a machine.

use std::fmt;
use std::path::PathBuf;

use super::settings::{MECHANISMS, SECURITY, word_of};

/// Security, replication and membership on a Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Encryption and credentials.
    pub security: KafkaSecurity,
    /// A PEM file with the authorities that may sign a broker's certificate; the public ones where there is none.
    pub ca: Option<PathBuf>,
    /// A PEM file with this process's certificate, for brokers that ask for one.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's key.
    pub key: Option<PathBuf>,
    /// How user and password are proved.
    pub sasl: SaslMechanism,
    /// The user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file with the user's password; whitespace around it does not count.
    pub password_file: Option<PathBuf>,
    /// Whether [`SaslMechanism::Plain`] may send the password over an open connection.
    pub plain_in_clear: bool,
    /// How many brokers keep each partition.
    pub replication: u16,
    /// How many of them must have a record before it is acknowledged; two unless set, or one of one.
    pub min_in_sync: Option<u16>,
    /// Whether this instance keeps its shards when it stops, because it starts again at once.
    pub restart_follows: bool,
}

/// Encryption and credentials of a connection to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaSecurity {
    /// Neither.
    Plaintext,
    /// TLS, with a certificate of this process where [`KafkaConfig::certificate`] names one.
    Tls,
    /// User and password over an open connection.
    SaslPlaintext,
    /// User and password over TLS.
    SaslTls,
}

/// How user and password are proved to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// SCRAM-SHA-512: the password itself is never sent.
    ScramSha512,
    /// PLAIN: the password is sent as it is.
    Plain,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        KafkaConfig {
            security: KafkaSecurity::Plaintext,
            ca: None,
            certificate: None,
            key: None,
            sasl: SaslMechanism::ScramSha512,
            user: None,
            password: None,
            password_file: None,
            plain_in_clear: false,
            replication: 3,
            min_in_sync: None,
            restart_follows: false,
        }
    }
}

impl KafkaSecurity {
    /// Whether the connection is encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, KafkaSecurity::Tls | KafkaSecurity::SaslTls)
    }

    /// Whether a user is asked for.
    pub fn has_user(self) -> bool {
        matches!(self, KafkaSecurity::SaslPlaintext | KafkaSecurity::SaslTls)
    }
}

impl KafkaConfig {
    /// How many replicas must have a record before it is acknowledged.
    pub fn min_in_sync(&self) -> u16 {
        self.min_in_sync.unwrap_or_else(|| self.replication.min(2))
    }

    /// Checks that no setting lacks another one that it needs.
    ///
    /// # Errors
    ///
    /// Says what is missing and how to set it.
    pub fn check(&self) -> Result<(), String> {
        let refused = |is_refused: bool, why: &str| if is_refused { Err(why.to_owned()) } else { Ok(()) };
        let encrypted = self.security.is_encrypted();
        let has_password = self.password.is_some() || self.password_file.is_some();
        refused(
            !encrypted && (self.ca.is_some() || self.certificate.is_some() || self.key.is_some()),
            "certificates are set, but the connection to Kafka is not encrypted; set kafka_security to tls or \
             sasl_tls, or take kafka_ca, kafka_certificate and kafka_key away",
        )?;
        refused(
            self.certificate.is_some() != self.key.is_some(),
            "of kafka_certificate and kafka_key one is missing; set both or neither",
        )?;
        refused(
            self.security.has_user() && (self.user.is_none() || !has_password),
            "kafka_security asks for a user, and user or password is missing; set kafka_user, and the environment \
             variable HEADWATER_KAFKA_PASSWORD or kafka_password_file",
        )?;
        refused(
            !self.security.has_user() && (self.user.is_some() || has_password),
            "a user or a password for Kafka is set, but kafka_security sends none; set it to sasl_tls or \
             sasl_plaintext, or take them away",
        )?;
        refused(
            self.password.is_some() && self.password_file.is_some(),
            "kafka_password and kafka_password_file are both set; take one of them away",
        )?;
        refused(
            self.security == KafkaSecurity::SaslPlaintext
                && self.sasl == SaslMechanism::Plain
                && !self.plain_in_clear,
            "kafka_sasl = plain sends the password readable for everyone on the way; set kafka_security to sasl_tls or \
             kafka_sasl to scram-sha-512, or kafka_plain_in_clear if that is meant",
        )?;
        refused(
            self.min_in_sync() > self.replication,
            "kafka_min_in_sync is larger than kafka_replication; no record could ever be acknowledged",
        )
    }

    /// The flags that lead another program to the same cluster: those that are no defaults.
    ///
    /// The password is never among them.
    pub(super) fn flags(&self) -> Vec<String> {
        let default = Self::default();
        let file = |flag: &str, file: &Option<PathBuf>| {
            file.as_ref().map(|file| format!("{flag} {}", quoted(&file.display().to_string())))
        };
        let differs = |differs: bool, flag: String| differs.then_some(flag);
        let flags = [
            differs(self.security != default.security, format!("--kafka-security {}", self.security)),
            file("--kafka-ca", &self.ca),
            file("--kafka-certificate", &self.certificate),
            file("--kafka-key", &self.key),
            differs(self.sasl != default.sasl, format!("--kafka-sasl {}", self.sasl)),
            self.user.as_ref().map(|user| format!("--kafka-user {}", quoted(user))),
            file("--kafka-password-file", &self.password_file),
            differs(self.plain_in_clear, "--kafka-plain-in-clear".to_owned()),
            differs(
                self.replication != default.replication,
                format!("--kafka-replication {}", self.replication),
            ),
            self.min_in_sync.map(|count| format!("--kafka-min-in-sync {count}")),
        ];
        flags.into_iter().flatten().collect()
    }
}

impl fmt::Display for KafkaSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(&SECURITY, self))
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word_of(&MECHANISMS, self))
    }
}

/// A text as a shell takes it for one word.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._:=,@%+-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
