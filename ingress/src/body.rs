//! Reading a request's body within its bounds.

use std::pin::pin;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};

use crate::response::Refusal;

/// Most bytes reserved on a sender's mere word. Larger bodies grow as they arrive, so that thousands of declared but
/// never sent megabytes cost nothing.
const RESERVED: usize = 64 << 10;

/// Reads the whole body, byte for byte, within `limit` in total.
///
/// # Errors
/// A body beyond `most` bytes, before it is read where its length is declared; one that takes too long; one that
/// breaks off.
pub(crate) async fn read<B: Body<Data = Bytes>>(body: B, most: usize, limit: Duration) -> Result<Vec<u8>, Refusal> {
    tokio::time::timeout(limit, gather(body, most)).await.map_err(|_| Refusal::BodyTimeout)?
}

async fn gather<B: Body<Data = Bytes>>(body: B, most: usize) -> Result<Vec<u8>, Refusal> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > most {
        return Err(Refusal::BodyTooLarge);
    }
    let mut body = pin!(body);
    let mut bytes = Vec::with_capacity(declared.min(RESERVED));
    while let Some(frame) = body.frame().await {
        // Trailers carry nothing that is signed.
        let Ok(chunk) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else { continue };
        if chunk.len() > most - bytes.len() {
            return Err(Refusal::BodyTooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::{Empty, Full};
    use hyper::body::Frame;

    use super::*;

    /// A body of undeclared length, as chunked encoding makes it.
    struct Chunks(VecDeque<&'static [u8]>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk)))))
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_body_of_exactly_the_cap_passes_whole() {
        assert_eq!(read(Chunks([&b"ab"[..], b"", b"cd"].into()), 4, LONG).await.unwrap(), b"abcd");
        assert_eq!(read(Full::new(Bytes::from_static(b"abcd")), 4, LONG).await.unwrap(), b"abcd");
        assert_eq!(read(Empty::new(), 4, LONG).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn one_byte_more_is_refused_and_never_cut_off() {
        let chunked = read(Chunks([&b"ab"[..], b"cde"].into()), 4, LONG).await;
        assert!(matches!(chunked, Err(Refusal::BodyTooLarge)));
        let declared = read(Full::new(Bytes::from_static(b"abcde")), 4, LONG).await;
        assert!(matches!(declared, Err(Refusal::BodyTooLarge)));
    }
}
