//! What travels between instances: a head in JSON, and parts of bytes.
//!
//! ```text
//! byte 0        version, 1
//! bytes 1..5    length of the head, big-endian
//! ...           the head, JSON
//! 4 bytes       number of parts, big-endian
//! each part     4 bytes length, big-endian, then its bytes; FFFFFFFF and no bytes: absent
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

const VERSION: u8 = 1;
const ABSENT: u32 = u32::MAX;

/// A head, and parts of bytes beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame<H> {
    pub(crate) head: H,
    pub(crate) parts: Vec<Option<Bytes>>,
}

/// Bytes that are no frame, or a frame that is too long to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("between instances: {0}")]
pub(crate) struct FrameError(String);

impl<H: Serialize> Frame<H> {
    /// # Errors
    ///
    /// [`FrameError`] if it is longer than [`FRAME_BYTES_MAX`].
    pub(crate) fn encode(&self) -> Result<Bytes, FrameError> {
        let head = serde_json::to_vec(&self.head).map_err(|error| FrameError(error.to_string()))?;
        let parts: usize = self.parts.iter().flatten().map(Bytes::len).sum();
        let size = 9 + head.len() + 4 * self.parts.len() + parts;
        if size > FRAME_BYTES_MAX {
            return Err(FrameError(format!(
                "{size} bytes are more than the {FRAME_BYTES_MAX} that may be sent"
            )));
        }
        let mut frame = BytesMut::with_capacity(size);
        frame.put_u8(VERSION);
        frame.put_u32(length(head.len()));
        frame.put_slice(&head);
        frame.put_u32(length(self.parts.len()));
        for part in &self.parts {
            frame.put_u32(part.as_ref().map_or(ABSENT, |part| length(part.len())));
            frame.put_slice(part.as_deref().unwrap_or_default());
        }
        Ok(frame.freeze())
    }
}

impl<H: DeserializeOwned> Frame<H> {
    /// # Errors
    ///
    /// [`FrameError`] for anything that [`encode`](Frame::encode) does not make of such a head.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, FrameError> {
        let truncated = || FrameError("the frame is cut off".to_owned());
        let version = bytes.try_get_u8().map_err(|_| truncated())?;
        if version != VERSION {
            return Err(FrameError(format!("a frame of version {version}; this program speaks {VERSION}")));
        }
        let head = take(&mut bytes).ok_or_else(truncated)?.ok_or_else(truncated)?;
        let head = serde_json::from_slice(&head).map_err(|error| FrameError(error.to_string()))?;
        let count = bytes.try_get_u32().map_err(|_| truncated())?;
        let parts = (0..count).map(|_| take(&mut bytes)).collect::<Option<_>>().ok_or_else(truncated)?;
        if bytes.has_remaining() { Err(truncated()) } else { Ok(Self { head, parts }) }
    }
}

/// A length in 32 bits; what is longer was refused before.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a frame is shorter than 64 MiB")
}

fn take(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    match bytes.try_get_u32().ok()? {
        ABSENT => Some(None),
        length if length as usize <= bytes.remaining() => Some(Some(bytes.split_to(length as usize))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_frame_comes_back_and_a_part_of_it_is_refused(
            head in ".{0,20}",
            parts in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..20)), 0..5),
            cut in 0..1_000_usize,
        ) {
            let parts = parts.into_iter().map(|part| part.map(Bytes::from)).collect();
            let frame = Frame { head, parts };
            let bytes = frame.encode().unwrap();
            prop_assert_eq!(Frame::<String>::decode(bytes.clone()).unwrap(), frame);
            prop_assert!(Frame::<String>::decode(bytes.slice(..cut % bytes.len())).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Frame::<String>::decode(Bytes::from(bytes));
        }
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let frame = Frame { head: "", parts: vec![Some(Bytes::from(vec![0; FRAME_BYTES_MAX]))] };
        assert!(frame.encode().is_err());
    }
}
