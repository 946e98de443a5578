//! What an edit costs before it is sealed. The numbers are those in the module's doc.

use super::{actor, chat, memory, message};
use crate::document::{Doc, MemoryRecord, MemoryStatus, Record};

#[test]
fn an_edit_is_small() {
    let mut doc = Doc::new(actor(1));
    let mut text = |memory: MemoryRecord| doc.update(&Record::Memory(memory)).unwrap().unwrap().bytes.len();
    let base = memory();
    let new = text(base.clone());
    let pinned = text(MemoryRecord {
        pinned: true,
        ..base.clone()
    });
    let corrected = MemoryRecord {
        text: "Prefers night trains to planes, even when there is no time".into(),
        pinned: true,
        updated_at_ms: base.updated_at_ms + 86_400_000,
        ..base.clone()
    };
    let correction = text(corrected.clone());
    let superseded = text(MemoryRecord {
        status: MemoryStatus::Superseded {
            by: Some(*b"fedcba9876543210"),
        },
        updated_at_ms: base.updated_at_ms + 2 * 86_400_000,
        ..corrected
    });
    let mut fresh = Doc::new(actor(1));
    fresh.update(&Record::Memory(base)).unwrap();
    let whole = fresh.save().len();

    let mut talk = Doc::new(actor(1));
    talk.update(&Record::Chat(chat(20))).unwrap();
    let mut longer = chat(20);
    let said = "The night train leaves at ten past nine and is there before breakfast; take the upper berth, it is \
                quieter, and bring something to read, because there is no signal after the second tunnel. Good night!";
    assert_eq!(said.len(), 200);
    longer.messages.insert(*b"q8Zr5tLw0Xb3Kd7m", message(20, said));
    longer.head = Some(*b"q8Zr5tLw0Xb3Kd7m");
    longer.updated_at_ms += 60_000;
    let turn = talk.update(&Record::Chat(longer)).unwrap().unwrap().bytes.len();

    println!(
        "new {new} pinned {pinned} correction {correction} superseded {superseded} whole {whole} turn {turn}"
    );
    assert!(
        new <= 240 && pinned <= 90 && correction <= 175 && superseded <= 130,
        "a memory's edits grew"
    );
    assert!(whole <= 300 && turn <= 355, "{whole} {turn}");
}
