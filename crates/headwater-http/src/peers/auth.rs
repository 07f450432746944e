//! Signatures of questions and answers: HMAC-SHA256 (RFC 2104) under the secret that the instances share.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// How far the clocks of two instances may be apart, and how long a question can be repeated.
const CLOCKS_APART: Duration = Duration::from_secs(60);
const BLOCK: usize = 64;

/// What a question is, apart from its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claims<'a> {
    pub(super) app: &'a str,
    pub(super) ms: u64,
    pub(super) nonce: u128,
    pub(super) within_ms: u64,
}

/// The secret, ready to sign with.
#[derive(Clone)]
pub(super) struct Key([u8; BLOCK]);

impl Key {
    pub(super) fn new(secret: &str) -> Self {
        Self::of_bytes(secret.as_bytes())
    }

    fn of_bytes(secret: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        if secret.len() > BLOCK {
            block[..32].copy_from_slice(&Sha256::digest(secret));
        } else {
            block[..secret.len()].copy_from_slice(secret);
        }
        Self(block)
    }

    /// The header of a question.
    pub(super) fn sign(&self, claims: Claims<'_>, body: &[u8]) -> String {
        format!("v1 {} {:032x} {}", claims.ms, claims.nonce, hex(&self.of_question(claims, body)))
    }

    /// The nonce of a question whose header is right.
    pub(super) fn check(
        &self,
        header: &str,
        (app, within_ms): (&str, u64),
        now_ms: u64,
        body: &[u8],
    ) -> Option<u128> {
        let parts: Vec<_> = header.split(' ').collect();
        let ["v1", ms, nonce, mac] = parts[..] else { return None };
        let (ms, nonce) = (ms.parse().ok()?, u128::from_str_radix(nonce, 16).ok()?);
        let mine = hex(&self.of_question(Claims { app, ms, nonce, within_ms }, body));
        let in_time = u128::from(now_ms.abs_diff(ms)) <= CLOCKS_APART.as_millis();
        (in_time & same(mine.as_bytes(), mac.as_bytes())).then_some(nonce)
    }

    /// The header of an answer to the question with a nonce.
    pub(super) fn sign_answer(&self, nonce: u128, body: &[u8]) -> String {
        let head = format!("answer\n{nonce:032x}\n");
        format!("v1 {}", hex(&self.mac(&[head.as_bytes(), body])))
    }

    /// Whether an answer's header is right.
    pub(super) fn check_answer(&self, header: &str, nonce: u128, body: &[u8]) -> bool {
        same(self.sign_answer(nonce, body).as_bytes(), header.as_bytes())
    }

    fn of_question(&self, claims: Claims<'_>, body: &[u8]) -> [u8; 32] {
        let Claims { app, ms, nonce, within_ms } = claims;
        // An app's name has no line break: it begins the names of topics.
        let head = format!("question\n{app}\n{ms}\n{nonce:032x}\n{within_ms}\n");
        self.mac(&[head.as_bytes(), body])
    }

    fn mac(&self, message: &[&[u8]]) -> [u8; 32] {
        let mut inner = Sha256::new().chain_update(self.0.map(|byte| byte ^ 0x36));
        message.iter().for_each(|part| inner.update(part));
        let outer = Sha256::new().chain_update(self.0.map(|byte| byte ^ 0x5c));
        outer.chain_update(inner.finalize()).finalize().into()
    }
}

/// Compares without telling by its time where the two differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 1, 2 and 6.
    #[test]
    fn the_mac_is_that_of_the_rfc() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, mac) in cases {
            assert_eq!(hex(&Key::of_bytes(key).mac(&[&message[..3], &message[3..]])), mac);
        }
    }

    #[test]
    fn only_what_was_signed_with_the_secret_and_not_changed_passes() {
        let key = Key::new("a secret of the instances");
        let claims = Claims { app: "shop", ms: 1_000_000, nonce: 7, within_ms: 500 };
        let header = key.sign(claims, b"body");
        let check = |key: &Key, header: &str, app, within, now, body: &[u8]| {
            key.check(header, (app, within), now, body)
        };
        assert_eq!(check(&key, &header, "shop", 500, 1_030_000, b"body"), Some(7));
        let refused = [
            check(&Key::new(""), &header, "shop", 500, 1_000_000, b"body"),
            check(&key, &header, "shop", 501, 1_000_000, b"body"),
            check(&key, &header, "shoq", 500, 1_000_000, b"body"),
            check(&key, &header, "shop", 500, 1_000_000, b"bode"),
            check(&key, &header, "shop", 500, 1_061_000, b"body"),
            check(&key, &header, "shop", 500, 900_000, b"body"),
            check(&key, &header.replace("v1", "v2"), "shop", 500, 1_000_000, b"body"),
            check(&key, &header.replace("1000000", "1000001"), "shop", 500, 1_000_000, b"body"),
            check(&key, &header[..header.len() - 1], "shop", 500, 1_000_000, b"body"),
            check(&key, "", "shop", 500, 1_000_000, b"body"),
        ];
        assert_eq!(refused, [None; 10]);
        let answer = key.sign_answer(7, b"answer");
        assert!(key.check_answer(&answer, 7, b"answer"));
        assert!(!key.check_answer(&answer, 8, b"answer"), "an answer is to its question alone");
        assert!(!key.check_answer(&answer, 7, b"another"));
    }
}
