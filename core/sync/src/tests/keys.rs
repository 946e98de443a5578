use hearth_protocol::control::Epoch;
use hearth_protocol::id::{AccountId, DeviceId, Handle, Hash};
use hearth_protocol::limits::SHARDS;

use super::{Counting, secret};
use crate::device::Keychain;
use crate::hpke;
use crate::keys::EpochKey;
use crate::recovery::{Phrase, PhraseError};
use crate::registry::{
    KeyEntry, ShardError, ShardKeys, open_shard, open_shard_keys, seal_shard, seal_shard_keys,
};
use crate::secret::DoesNotOpen;

const ACCOUNT: AccountId = AccountId([1; 32]);

fn epoch(key: &EpochKey, membership: Hash) -> Epoch {
    Epoch {
        number: key.number,
        membership,
        commitment: key.commitment(&ACCOUNT),
        wraps: Hash::ZERO,
        table: Hash::ZERO,
        ends: hearth_protocol::codec::List::default(),
        min_version: 1,
    }
}

/// Whatever has piled up, as where a server keeps the registry back for a year: what was written is read again.
#[test]
fn a_keychain_of_many_keys_is_read_back() {
    let mut random = Counting::default();
    let mut keys = Keychain::random(&mut random);
    for number in 1..=400 {
        keys.epochs.push(EpochKey::random(number, &mut random));
        keys.agreement.push(secret(3));
    }
    let read = Keychain::decode(&keys.encode()).unwrap();
    assert_eq!(read.encode(), keys.encode());
    assert!(read.has_all_of(&keys) && keys.has_all_of(&read));
}

#[test]
fn a_keychain_knows_which_keys_another_one_lacks() {
    let mut random = Counting::default();
    let mut older = Keychain::random(&mut random);
    older.epochs.push(EpochKey::random(1, &mut random));
    let mut newer = older.clone();
    newer.agreement.push(secret(9));
    newer.epochs.push(EpochKey::random(2, &mut random));
    newer.remember_discovery(secret(8));
    assert!(newer.has_all_of(&older) && !older.has_all_of(&newer));
    newer.epochs.remove(0);
    assert!(!newer.has_all_of(&older), "an epoch's");
    let mut newer = older.clone();
    newer.agreement.clear();
    assert!(!newer.has_all_of(&older), "an agreement's");
    // What was proposed is kept as an epoch's, or gone.
    let proposed = EpochKey::random(2, &mut random);
    older.proposed = Some(proposed.clone());
    let mut newer = older.clone();
    newer.proposed = None;
    assert!(!newer.has_all_of(&older));
    newer.epochs.push(proposed);
    assert!(newer.has_all_of(&older));
}

#[test]
fn an_epoch_key_reaches_the_device_it_is_wrapped_for() {
    let mut random = Counting::default();
    let key = EpochKey::random(3, &mut random);
    let (device, other) = (DeviceId([5; 32]), DeviceId([6; 32]));
    let private = secret(9);
    let membership = Hash([4; 32]);
    let to = hpke::public_key(&private);
    let wrap = key
        .wrap(&ACCOUNT, &membership, Some(&device), &to, &mut random)
        .unwrap();
    let said = epoch(&key, membership);
    let opened = EpochKey::unwrap(&ACCOUNT, &said, Some(&device), &private, &wrap).unwrap();
    assert_eq!(opened.key.expose(), key.key.expose());

    // Another device, account, membership, number or key: nothing opens.
    let fails = |account: &AccountId, said: &Epoch, device: Option<&DeviceId>| {
        EpochKey::unwrap(account, said, device, &private, &wrap).err() == Some(DoesNotOpen)
    };
    assert!(fails(&AccountId([2; 32]), &said, Some(&device)));
    assert!(fails(&ACCOUNT, &said, Some(&other)));
    assert!(fails(&ACCOUNT, &said, None));
    assert!(fails(&ACCOUNT, &epoch(&key, Hash([5; 32])), Some(&device)));
    assert!(fails(
        &ACCOUNT,
        &Epoch {
            number: 4,
            ..said.clone()
        },
        Some(&device)
    ));

    // A key that isn't the one committed to is noticed, even when it was wrapped for this very commitment.
    let wrong = Epoch {
        commitment: Hash([8; 32]),
        ..said
    };
    assert!(fails(&ACCOUNT, &wrong, Some(&device)));
}

#[test]
fn a_shard_holds_its_own_keys_and_opens_with_its_own_key() {
    let mut random = Counting::default();
    let entry = |first: u8, n: u8| {
        let mut handle = [n; 16];
        handle[0] = first;
        KeyEntry::new(Handle(handle), u32::from(n), &secret(n))
    };
    let (shard, key) = seal_shard(&ACCOUNT, 7, [entry(7, 2), entry(7, 1), entry(7, 2)], &mut random).unwrap();
    assert_eq!(
        open_shard(&ACCOUNT, &shard, &key).unwrap(),
        [entry(7, 1), entry(7, 2)]
    );
    let (again, other_key) = seal_shard(&ACCOUNT, 7, [entry(7, 1)], &mut random).unwrap();
    assert_ne!(key.expose(), other_key.expose(), "every writing has its own key");
    assert!(open_shard(&ACCOUNT, &again, &key).is_err());
    assert!(open_shard(&AccountId([2; 32]), &shard, &key).is_err());
    let mut moved = shard.clone();
    moved.index = 8;
    assert!(open_shard(&ACCOUNT, &moved, &key).is_err());
    assert_eq!(
        seal_shard(&ACCOUNT, 8, [entry(7, 1)], &mut random).map(|_| ()),
        Err(ShardError::Content)
    );
    let (empty, key) = seal_shard(&ACCOUNT, 0, [], &mut random).unwrap();
    assert_eq!(open_shard(&ACCOUNT, &empty, &key).unwrap(), []);
    assert_eq!(format!("{:?}", entry(7, 1)), "KeyEntry(070101010101, 1)");
}

#[test]
fn the_table_gives_every_shard_its_key() {
    let mut random = Counting::default();
    let epoch = EpochKey::random(1, &mut random);
    let keys: Box<ShardKeys> = Box::new(std::array::from_fn(|index| secret(index as u8)));
    let previous = Hash([3; 32]);
    let (salt, sealed) = seal_shard_keys(&ACCOUNT, &epoch, 2, &previous, &keys, &mut random).unwrap();
    let opened = open_shard_keys(&ACCOUNT, &epoch, 2, &previous, &salt, &sealed).unwrap();
    assert!((0..SHARDS).all(|index| opened[index].expose() == keys[index].expose()));
    assert!(open_shard_keys(&ACCOUNT, &epoch, 3, &previous, &salt, &sealed).is_err());
    let other = EpochKey::random(1, &mut random);
    assert!(open_shard_keys(&ACCOUNT, &other, 2, &previous, &salt, &sealed).is_err());
}

#[test]
fn a_phrase_comes_back_from_its_words() {
    let phrase = Phrase::random(&mut Counting::default());
    let words = phrase.words();
    assert_eq!(words.split(' ').count(), 24);
    let keys = phrase.public().unwrap();
    assert_eq!(Phrase::parse(&words).unwrap().public().unwrap(), keys);
    let short: Vec<String> = words
        .split(' ')
        .map(|word| word.chars().take(4).collect::<String>().to_uppercase())
        .collect();
    assert_eq!(Phrase::parse(&short.join("\n ")).unwrap().public().unwrap(), keys);
    assert_ne!(keys.signing.0, keys.agreement.0);
}

#[test]
fn a_mistyped_phrase_is_told_apart() {
    let words = Phrase::from_entropy(secret(0)).words();
    assert_eq!(words.split(' ').next(), Some("abandon"));
    assert_eq!(Phrase::parse("").err(), Some(PhraseError::Count(0)));
    assert_eq!(
        Phrase::parse("abandon ability").err(),
        Some(PhraseError::Count(2))
    );
    assert_eq!(
        Phrase::parse(&format!("{} abandon", *words)).err(),
        Some(PhraseError::Count(25))
    );
    assert_eq!(
        Phrase::parse(&words.replacen("abandon", "abandone", 1)).err(),
        Some(PhraseError::UnknownWord {
            place: 1,
            nearest: Some("abandon")
        })
    );
    assert_eq!(
        Phrase::parse(&words.replacen("abandon", "ability", 1)).err(),
        Some(PhraseError::Checksum)
    );
    let mut swapped: Vec<&str> = words.split(' ').collect();
    swapped.swap(22, 23);
    assert_eq!(
        Phrase::parse(&swapped.join(" ")).err(),
        Some(PhraseError::Checksum)
    );
}
