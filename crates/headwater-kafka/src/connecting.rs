//! Why a cluster could not be connected to, in one line: what happened, where, and what to do.
//!
//! The client tells some causes by kind, most by text alone; what is looked for in a text holds for the one version of
//! the client that is pinned, and each line of the table has a test against a real broker.

use krafka::KrafkaError;

use crate::errors::{KafkaError, KafkaErrorKind};
use crate::settings::Security;

/// What a part of the client's words means.
struct Cause {
    said: &'static str,
    kind: KafkaErrorKind,
    /// What happened, as the rest of a sentence that begins with the broker.
    happened: &'static str,
    to_do: &'static str,
}

const CAUSES: &[Cause] = &[
    Cause {
        said: "certificate not valid for name",
        kind: KafkaErrorKind::Refused,
        happened: "shows the certificate of another host",
        to_do: "use an address that the certificate names, or give the broker a certificate for this one",
    },
    Cause {
        said: "UnknownIssuer",
        kind: KafkaErrorKind::Refused,
        happened: "shows a certificate of an authority that is not trusted",
        to_do: "name the file with the right authority by kafka_ca",
    },
    Cause {
        said: "invalid peer certificate",
        kind: KafkaErrorKind::Refused,
        happened: "shows a certificate that is not valid",
        to_do: "check the broker's certificate",
    },
    Cause {
        said: "received fatal alert",
        kind: KafkaErrorKind::Refused,
        happened: "does not accept this process's certificate, or wants one and got none",
        to_do: "set kafka_certificate and kafka_key to ones of an authority that the broker trusts",
    },
    Cause {
        said: "SaslAuthenticationFailed",
        kind: KafkaErrorKind::Refused,
        happened: "does not accept the user and the password",
        to_do: "check kafka_user, the password and kafka_sasl",
    },
    Cause {
        said: "IllegalSaslState",
        kind: KafkaErrorKind::Refused,
        happened: "asks for no user at this address",
        to_do: "use the address of its listener with SASL, or set kafka_security to plaintext or tls",
    },
    Cause {
        said: "UnsupportedSaslMechanism",
        kind: KafkaErrorKind::Refused,
        happened: "does not offer this way of proving a password",
        to_do: "set kafka_sasl to one that it offers",
    },
    Cause {
        // The four bytes with which a broker's TLS begins its complaint, read as the length of an answer.
        said: "message size 352518912",
        kind: KafkaErrorKind::Refused,
        happened: "speaks TLS at this address",
        to_do: "set kafka_security to tls or sasl_tls",
    },
    Cause {
        said: "tls handshake eof",
        kind: KafkaErrorKind::Refused,
        happened: "does not speak TLS at this address",
        to_do: "use the address of its listener with TLS, or set kafka_security to plaintext or sasl_plaintext",
    },
    Cause {
        said: "failed to lookup address",
        kind: KafkaErrorKind::Unreachable,
        happened: "has a name that cannot be looked up",
        to_do: "check the address",
    },
    Cause {
        said: "Connection refused",
        kind: KafkaErrorKind::Unreachable,
        happened: "does not run, or not at this address",
        to_do: "check the address and that the cluster runs",
    },
    Cause {
        said: "connection closed",
        kind: KafkaErrorKind::Refused,
        happened: "closes the connection at once: it may ask for TLS or a user, or be no Kafka broker",
        to_do: "check the address and kafka_security",
    },
    Cause {
        said: "timed out",
        kind: KafkaErrorKind::Unreachable,
        happened: "does not answer",
        to_do: "check the address, that the cluster runs, and what lies between",
    },
];

/// What a broker that goes down does to who connects to it; one that never was of use does the same.
const BROKEN_OFF: [&str; 2] = ["connection closed", "tls handshake eof"];

/// Explains an error of connecting to `servers` again, which have served this process before.
pub(crate) fn explain_again(servers: &str, security: &Security, error: KrafkaError) -> KafkaError {
    let text = error.to_string();
    if BROKEN_OFF.iter().any(|said| text.contains(said)) {
        let message = format!("the Kafka broker at {servers} breaks connections off; it may be restarting");
        return KafkaError::new(KafkaErrorKind::Unreachable, message).with_source(error);
    }
    explain(servers, security, error)
}

/// Explains an error of connecting to `servers` for the first time.
pub(crate) fn explain(servers: &str, security: &Security, error: KrafkaError) -> KafkaError {
    if let KrafkaError::Config { message } = &error {
        let message = format!("the settings for Kafka cannot be used: {message}");
        return KafkaError::new(KafkaErrorKind::Settings, message);
    }
    let text = error.to_string();
    let Some(cause) = CAUSES.iter().find(|cause| text.contains(cause.said)) else {
        let kind = kind_of(&error);
        let to_do = match kind {
            KafkaErrorKind::Unsupported => "it is too old; run Kafka 4.0 or later",
            _ => "check the address and kafka_security",
        };
        let message = format!("the Kafka cluster at {servers} cannot be used; {to_do}");
        return KafkaError::new(kind, message).with_source(error);
    };
    let user = security.sasl.as_ref().map(|sasl| format!(" (user {})", sasl.user)).unwrap_or_default();
    let Cause { kind, happened, to_do, .. } = cause;
    let detail = detail(&text);
    KafkaError::new(
        *kind,
        format!("the Kafka broker at {servers} {happened}; {to_do}{user}; the client says: {detail}"),
    )
}

fn kind_of(error: &KrafkaError) -> KafkaErrorKind {
    match error {
        KrafkaError::Auth { .. } => KafkaErrorKind::Refused,
        KrafkaError::Protocol { .. } => KafkaErrorKind::Unsupported,
        _ => KafkaErrorKind::Unreachable,
    }
}

/// The client's last words, without what it says about where.
fn detail(text: &str) -> &str {
    let after = |mark: &str| text.rsplit_once(mark).map(|(_, rest)| rest);
    after("last error: ").or_else(|| after("]: ")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use krafka::KrafkaError;

    use super::{detail, explain, explain_again};
    use crate::errors::KafkaErrorKind;
    use crate::settings::Security;

    #[test]
    fn the_detail_is_what_follows_the_place() {
        for (text, rest) in [
            (
                "network error: could not connect to any of [a:1]; last error: network error: refused",
                "network error: refused",
            ),
            (
                "authentication error: could not connect to any of [a:1, b:2]: TLS handshake failed: no",
                "TLS handshake failed: no",
            ),
            ("network error: connection closed", "network error: connection closed"),
        ] {
            assert_eq!(detail(text), rest);
        }
    }

    #[test]
    fn a_broker_that_served_before_and_breaks_off_is_away_and_refuses_nobody() {
        let closed = || KrafkaError::network(std::io::Error::other("connection closed"));
        let security = Security::default();
        for (error, kind) in [
            (explain("a:1", &security, closed()), KafkaErrorKind::Refused),
            (explain_again("a:1", &security, closed()), KafkaErrorKind::Unreachable),
            (
                explain_again("a:1", &security, KrafkaError::auth("SaslAuthenticationFailed")),
                KafkaErrorKind::Refused,
            ),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
