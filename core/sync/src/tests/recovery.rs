use hearth_protocol::codec::{List, Map};
use hearth_protocol::control::{
    Account, Action, ControlEntry, ControlStatement, Epoch, EpochWraps, Phrase as NewPhrase, phrase_id,
    wraps_hash,
};
use hearth_protocol::id::Hash;

use super::{Counting, secret};
use crate::hpke;
use crate::keys::EpochKey;
use crate::recovery::{DrillError, Drilled, Phrase, PhraseError, WordError, drill};
use crate::tests::pairing::{Owner, sign_entry};

/// An account whose phrase has this entropy, with an epoch.
fn account(entropy: u8) -> (Vec<ControlEntry>, EpochWraps) {
    let phrase = Phrase::from_entropy(secret(entropy));
    let owner = Owner::new(1, phrase.clone());
    let genesis = owner.genesis();
    let account = Account::open(&genesis).unwrap();
    let mut random = Counting::default();
    let key = EpochKey::random(1, &mut random);
    let mut wrap = |device, to| {
        key.wrap(&account.id(), &account.membership(), device, to, &mut random)
            .unwrap()
    };
    let id = owner.keys.device_id();
    let wraps = EpochWraps {
        devices: Map::new([(id, wrap(Some(&id), &owner.keys.agreement))]).unwrap(),
        recovery: wrap(None, &hpke::public_key(&phrase.agreement())),
    };
    let epoch = Epoch {
        number: 1,
        membership: account.membership(),
        commitment: key.commitment(&account.id()),
        wraps: wraps_hash(&account.id(), &wraps),
        table: Hash::ZERO,
        ends: List::default(),
        min_version: 1,
    };
    let entry = owner.next(&account, Action::Epoch(Box::new(epoch)));
    (vec![genesis, entry], wraps)
}

#[test]
fn a_drill_opens_the_running_epoch() {
    let (entries, wraps) = account(3);
    let state = Account::replay(&entries).unwrap();
    let words = Phrase::from_entropy(secret(3)).words();
    let tried = |typed: &str, wraps| drill(typed, &state, &entries, wraps);
    assert_eq!(tried(&words, Some(&wraps)), Ok(Drilled::Opens(1)));
    assert_eq!(tried(&words.to_uppercase(), Some(&wraps)), Ok(Drilled::Opens(1)));
    assert_eq!(tried(&words, None), Err(DrillError::WrapsStale));
    let (_, others) = account(4);
    assert_eq!(tried(&words, Some(&others)), Err(DrillError::WrapsStale));
    let other = Phrase::from_entropy(secret(4)).words();
    assert_eq!(tried(&other, Some(&wraps)), Err(DrillError::OtherAccount));
    let new = Account::open(&entries[0]).unwrap();
    assert_eq!(drill(&words, &new, &entries[..1], None), Ok(Drilled::NoEpochYet));
    assert_eq!(
        tried("zoo", Some(&wraps)),
        Err(DrillError::Phrase(PhraseError::Count(1)))
    );
}

#[test]
fn a_wrap_that_does_not_open_is_told_apart() {
    // The wraps are those that the entry names, but the one for the phrase was made for another key.
    let (mut entries, mut wraps) = account(3);
    wraps.recovery.encapsulated[0] ^= 1;
    let id = entries[0].opens().unwrap();
    let owner = Owner::new(1, Phrase::from_entropy(secret(3)));
    let Action::Epoch(epoch) = &mut entries[1].statement.action else {
        unreachable!()
    };
    epoch.wraps = wraps_hash(&id, &wraps);
    entries[1] = sign_entry(entries[1].statement.clone(), &id, &owner.log);
    let state = Account::replay(&entries).unwrap();
    let words = Phrase::from_entropy(secret(3)).words();
    assert!(matches!(
        drill(&words, &state, &entries, Some(&wraps)),
        Err(DrillError::DoesNotOpen(_))
    ));
}

#[test]
fn an_earlier_phrase_of_the_account_is_told_apart() {
    let (mut entries, wraps) = account(3);
    let state = Account::replay(&entries).unwrap();
    let old = Phrase::from_entropy(secret(3));
    let new = Phrase::from_entropy(secret(5));
    let recovery = new.public().unwrap();
    let handed_over = phrase_id(&state.id(), &state.head(), &recovery);
    let owner = Owner::new(1, old.clone());
    let change = NewPhrase {
        recovery,
        approval: old.signing().unwrap().sign(&handed_over),
        acceptance: new.signing().unwrap().sign(&handed_over),
    };
    let statement = ControlStatement {
        number: 2,
        ..owner.next(&state, Action::Phrase(Box::new(change))).statement
    };
    entries.push(sign_entry(statement, &state.id(), &owner.log));
    let state = Account::replay(&entries).unwrap();
    assert_eq!(
        drill(&old.words(), &state, &entries, Some(&wraps)),
        Err(DrillError::Replaced)
    );
}

#[test]
fn a_slip_of_the_pen_gets_a_suggestion() {
    let nearest = |word: &str| match Phrase::parse(word) {
        Err(PhraseError::UnknownWord { place: 1, nearest }) => nearest,
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest("abandn"), Some("abandon"));
    assert_eq!(nearest("zooo"), Some("zoo"));
    assert_eq!(nearest("wierd"), Some("weird"));
    assert_eq!(nearest("xqzkjvw"), None);
    assert_eq!(nearest(&"a".repeat(10_000)), None);
    let said = Phrase::parse("wierd").unwrap_err().to_string();
    assert_eq!(said, "word 1 is in no phrase: did you mean “weird”?");
}

#[test]
fn three_words_are_asked_for() {
    let mut random = Counting::default();
    let phrase = Phrase::random(&mut random);
    let words = phrase.words();
    let words: Vec<&str> = words.split(' ').collect();
    for _ in 0..200 {
        let [first, second, third] = Phrase::ask(&mut random);
        assert!((1..=8).contains(&first) && (9..=16).contains(&second) && (17..=24).contains(&third));
        for place in [first, second, third] {
            assert_eq!(phrase.answer(place, words[place - 1]), Ok(()));
        }
    }
    let (asked, found) = (3, 11);
    assert_eq!(
        phrase.answer(asked, words[found - 1]),
        Err(WordError::OtherPlace { asked, found })
    );
    let stranger = ["zoo", "abandon", "able"];
    let stranger = stranger.iter().find(|word| !words.contains(word)).unwrap();
    assert_eq!(phrase.answer(3, stranger), Err(WordError::Wrong(3)));
    assert!(matches!(
        phrase.answer(3, "abandn"),
        Err(WordError::Phrase(PhraseError::UnknownWord { place: 3, .. }))
    ));
    assert!(phrase.answer(0, words[0]).is_err() && phrase.answer(25, words[0]).is_err());
}
