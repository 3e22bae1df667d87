//! The bodies sent: a few bytes, or a pattern of any length that is never whole in memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The pattern repeats after so many bytes: a prime, so that no buffer size hides a shift.
const PERIOD: usize = 251;

/// Whole periods, near 64 KiB: every chunk begins as the pattern does.
static CHUNK: LazyLock<Bytes> =
    LazyLock::new(|| (0..PERIOD * 261).map(|place| (place % PERIOD) as u8).collect());

/// The next bytes of a pattern that began at its beginning and came in such chunks; all of `left` or some 64 KiB.
pub(crate) fn pattern_chunk(left: u64) -> Bytes {
    let length = usize::try_from(left).map_or(CHUNK.len(), |left| left.min(CHUNK.len()));
    CHUNK.slice(..length)
}

/// A body of known length.
#[derive(Debug)]
pub(crate) enum Body {
    /// As it is; taken when sent.
    Text(Option<Bytes>),
    /// So many bytes of the pattern are left to send.
    Pattern(u64),
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Text(None)
    }

    /// Takes the next piece.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Text(text) => text.take(),
            Self::Pattern(0) => None,
            Self::Pattern(left) => {
                let chunk = pattern_chunk(*left);
                *left -= chunk.len() as u64;
                Some(chunk)
            }
        }
    }

    /// What is left of it.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Pattern(left) => *left,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(text: T) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().next().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None) | Self::Pattern(0))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes())
    }
}

/// Checks a body that should be the pattern, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct PatternCheck {
    /// Bytes seen so far.
    pub(crate) bytes: u64,
    differs: bool,
}

impl PatternCheck {
    pub(crate) fn add(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let phase = (self.bytes % PERIOD as u64) as usize;
            let (now, later) = piece.split_at(piece.len().min(CHUNK.len() - phase));
            self.differs |= CHUNK[phase..phase + now.len()] != *now;
            self.bytes += now.len() as u64;
            piece = later;
        }
    }

    /// Every byte so far was the pattern's.
    pub(crate) fn intact(&self) -> bool {
        !self.differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn the_pattern_has_the_length_asked_for_and_checks_itself() {
        for length in [0, 1, 250, 251, 65_511, 65_512, 1_000_000] {
            let body = Body::Pattern(length);
            assert_eq!(body.size_hint().exact(), Some(length));
            let bytes = body.collect().await.expect("cannot fail").to_bytes();
            let mut check = PatternCheck::default();
            // Pieces that are no multiple of anything.
            bytes.chunks(777).for_each(|piece| check.add(piece));
            assert_eq!(check.bytes, length);
            assert!(check.intact(), "{length}");
        }
    }

    #[test]
    fn a_lost_or_changed_byte_is_seen() {
        let mut lost = PatternCheck::default();
        lost.add(&CHUNK[..100]);
        lost.add(&CHUNK[101..200]);
        assert!(!lost.intact());
        let mut changed = PatternCheck::default();
        changed.add(&[0, 1, 2, 4]);
        assert!(!changed.intact());
    }
}
