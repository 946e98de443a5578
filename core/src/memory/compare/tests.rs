use super::*;

fn check(old: &str, new: &str, kind: Kind, cosine: f32, wanted: Relation) {
    let statement = |text| Statement {
        text,
        kind,
        confidence: 0.9,
        at_ms: 0,
    };
    let found = relation(&statement(old), &statement(new), cosine);
    assert_eq!(
        found,
        wanted,
        "{old:?} / {new:?}\n{:#?}\n{:#?}",
        claims::parse(old).claims,
        claims::parse(new).claims
    );
}

#[test]
fn vectors_do_not_decide() {
    use Relation::{Contradicts, Same, Separate};
    check(
        "Is allergic to peanuts",
        "Is not allergic to peanuts",
        Kind::Constraint,
        0.96,
        Contradicts,
    );
    check(
        "Takes 10 mg of lisinopril",
        "Takes 20 mg of lisinopril",
        Kind::Biography,
        0.98,
        Contradicts,
    );
    check(
        "Prefers trains to planes",
        "Prefers planes to trains",
        Kind::Preference,
        0.99,
        Contradicts,
    );
    check(
        "Lives in Paris",
        "Lives in Lyon",
        Kind::Biography,
        0.63,
        Contradicts,
    );
    check("Lives in Paris", "Resides in Paris", Kind::Biography, 0.8, Same);
    check("Likes jazz", "Likes hiking", Kind::Preference, 0.5, Separate);
    check(
        "Lives in Paris",
        "Sister lives in Lyon",
        Kind::Biography,
        0.6,
        Separate,
    );
}
