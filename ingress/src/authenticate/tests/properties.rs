//! Whatever arrives, nothing panics, and nobody is let in without the issuer's signature over exactly these bytes.

use hyper::header::{AUTHORIZATION, HeaderValue};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;

static WORLD: LazyLock<(Runtime, World)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    (runtime, world)
});
/// An honest token.
static TOKEN: LazyLock<String> = LazyLock::new(|| ED.sign(&claims()));

fn judge(authorization: &[u8]) -> Result<Caller, Unauthenticated> {
    let (runtime, world) = &*WORLD;
    let Ok(value) = HeaderValue::from_bytes(authorization) else { return Err(Unauthenticated::Scheme) };
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
    runtime.block_on(world.authenticator.authenticate(&headers, now))
}

fn bearer(token: &[u8]) -> Vec<u8> {
    [b"Bearer ", token].concat()
}

proptest! {
    #[test]
    fn arbitrary_bytes_authenticate_nobody(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(judge(&bytes).is_err());
        prop_assert!(judge(&bearer(&bytes)).is_err());
    }

    #[test]
    fn arbitrary_segments_authenticate_nobody(
        header in prop::collection::vec(any::<u8>(), 0..80),
        claims in prop::collection::vec(any::<u8>(), 0..200),
        signature in prop::collection::vec(any::<u8>(), 0..70),
    ) {
        let token = format!("{}.{}.{}", b64(header), b64(claims), b64(signature));
        prop_assert!(judge(&bearer(token.as_bytes())).is_err());
    }

    #[test]
    fn an_honest_header_and_claims_are_nothing_without_the_signature(
        signature in prop::collection::vec(any::<u8>(), 0..300),
        key in 0_usize..3,
    ) {
        let header = [&*ED, &*EC, &*RSA][key].header();
        let token = format!("{}.{}.{}", b64(header.to_string()), b64(claims().to_string()), b64(signature));
        prop_assert!(judge(&bearer(token.as_bytes())).is_err());
    }

    #[test]
    fn a_token_changed_in_any_place_is_refused(place in any::<prop::sample::Index>(), byte in 0x21_u8..0x7f) {
        prop_assert!(judge(&bearer(TOKEN.as_bytes())).is_ok());
        let mut token = TOKEN.clone().into_bytes();
        let place = place.index(token.len());
        prop_assume!(token[place] != byte);
        token[place] = byte;
        prop_assert!(judge(&bearer(&token)).is_err());
    }

    #[test]
    fn a_part_of_a_token_is_refused(length in any::<prop::sample::Index>()) {
        let part = &TOKEN.as_bytes()[..length.index(TOKEN.len())];
        prop_assert!(judge(&bearer(part)).is_err());
    }
}
