use hearth_protocol::id::AgreementKey;

use super::{secret, unhex};
use crate::hpke::{derive_private_key, open, public_key, seal};
use crate::secret::DoesNotOpen;

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

/// RFC 9180, appendix A.2.1: X25519, HKDF-SHA256, ChaCha20-Poly1305, base mode, sequence number 0.
#[test]
fn the_vector_of_the_rfc() {
    let ephemeral = bytes("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
    let recipient = bytes("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df");
    let private = derive_private_key(&recipient);
    assert_eq!(
        private.expose(),
        &bytes::<32>("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
    );
    let public = public_key(&private);
    assert_eq!(
        public.0,
        bytes("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    );
    let (encapsulated, sealed) = seal(
        &public,
        &unhex("4f6465206f6e2061204772656369616e2055726e"),
        &unhex("436f756e742d30"),
        &unhex("4265617574792069732074727574682c20747275746820626561757479"),
        &ephemeral,
    )
    .unwrap();
    assert_eq!(
        encapsulated,
        bytes("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
    );
    assert_eq!(
        sealed,
        unhex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28")
    );
}

#[test]
fn only_the_holder_at_the_same_place_opens() {
    let (mine, other) = (derive_private_key(&[1; 32]), derive_private_key(&[2; 32]));
    let (encapsulated, sealed) = seal(&public_key(&mine), b"info", b"aad", b"text", &[3; 32]).unwrap();
    assert_eq!(
        open(&mine, &encapsulated, b"info", b"aad", &sealed).unwrap(),
        b"text"
    );
    assert_eq!(
        open(&other, &encapsulated, b"info", b"aad", &sealed),
        Err(DoesNotOpen)
    );
    assert_eq!(
        open(&mine, &encapsulated, b"inf0", b"aad", &sealed),
        Err(DoesNotOpen)
    );
    assert_eq!(
        open(&mine, &encapsulated, b"info", b"aae", &sealed),
        Err(DoesNotOpen)
    );
    assert_eq!(
        open(&mine, &public_key(&other).0, b"info", b"aad", &sealed),
        Err(DoesNotOpen)
    );
    assert_eq!(
        open(&mine, &encapsulated, b"info", b"aad", &sealed[1..]),
        Err(DoesNotOpen)
    );
}

#[test]
fn a_key_of_small_order_is_refused() {
    for point in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        assert!(seal(&AgreementKey(point), b"", b"", b"text", &[3; 32]).is_err());
        assert!(open(&secret(5), &point, b"", b"", &[0; 20]).is_err());
    }
}
