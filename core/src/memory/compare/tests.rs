use super::*;

fn check(old: &str, new: &str, kind: Kind, cosine: f32, wanted: Relation) {
    let statement = |text| Statement {
        text,
        kind,
        confidence: 0.9,
        at_ms: 0,
    };
    let found = relation(&statement(old), &statement(new), cosine, None);
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

#[test]
fn what_is_compared_before_anything_is_one() {
    use Relation::{Contradicts, Same, Separate};
    let biography = |old, new, wanted| check(old, new, Kind::Biography, 0.9, wanted);
    // Units and forms of numbers.
    biography("Weighs 80 kg", "Weighs 176 lb", Same);
    biography("Gets up at 7 pm", "Gets up at 19:00", Same);
    biography(
        "Takes 10 mg of folic acid",
        "Takes 10 ml of folic acid",
        Contradicts,
    );
    biography("Has two children", "Has 2 kids", Same);
    // Whose.
    biography("Brother is a nurse", "Is a plumber", Separate);
    biography("Lives in Porto", "Best friend moved to Graz", Separate);
    biography("Father is 78, lives in Plovdiv", "Lives in Sofia", Separate);
    // When, and whether at all.
    biography("Lives in Porto", "Lived in Rome as a child", Separate);
    biography("Lives in Porto", "Wants to move to Rome", Separate);
    biography("Lives in Porto", "Used to live in Porto", Contradicts);
    biography("Went to Peru in 2016", "Went to Peru in 2019", Separate);
    // More, and less.
    biography("Has a dog named Rex", "Has a dog", Same);
    biography("Has a dog", "Has a dog named Rex", Separate);
    biography("Lives in France", "Lives in Lyon", Separate);
}

#[test]
fn changes_name_what_they_end() {
    use Relation::Contradicts;
    let preference = |old, new| check(old, new, Kind::Preference, 0.6, Contradicts);
    preference("Drives an old Volvo", "Replaced an old Volvo with a bicycle");
    preference("Takes the bus to work", "Goes to work by tram instead of by bus");
    preference("Wohnt in Köln", "Ist nach Bern gezogen");
    preference("Habite à Nantes", "A déménagé à Lille");
    preference("Le gusta el café", "Ya no le gusta el café");
    preference("Likes olives", "Can't stand olives");
}

#[test]
fn the_classifier_speaks_where_the_rules_are_silent() {
    let statement = |text| Statement {
        text,
        kind: Kind::Biography,
        confidence: 0.9,
        at_ms: 0,
    };
    let judged = |old, new, replaces, same| {
        let judgement = Judgement { replaces, same };
        relation(&statement(old), &statement(new), 0.6, Some(judgement))
    };
    let (old, new) = (
        "Keeps the spare key in a blue pot",
        "The pot was stolen, key and all",
    );
    assert_eq!(
        relation(&statement(old), &statement(new), 0.6, None),
        Relation::Separate
    );
    assert_eq!(judged(old, new, 0.99, 0.0), Relation::Contradicts);
    assert_eq!(judged(old, new, 0.9, 0.1), Relation::Separate);
    // Where the user would be asked, less is enough.
    let constraint = Statement {
        kind: Kind::Constraint,
        ..statement(old)
    };
    let judgement = |replaces| Some(Judgement { replaces, same: 0.0 });
    for (replaces, wanted) in [(0.9, Relation::Contradicts), (0.7, Relation::Separate)] {
        assert_eq!(
            relation(&constraint, &statement(new), 0.6, judgement(replaces)),
            wanted
        );
        assert_eq!(
            relation(
                &statement(old),
                &Statement {
                    kind: Kind::Constraint,
                    ..statement(new)
                },
                0.6,
                judgement(replaces)
            ),
            wanted
        );
    }
    // Numbers that differ are never the same, whatever it says.
    assert_eq!(
        judged("Owes the bank 300 euros", "Has 400 euros of debt", 0.0, 0.99),
        Relation::Separate
    );
    // Nor does it speak where the rules know two attributes.
    assert_eq!(
        judged("Lives in Lyon now", "Works as a teacher now", 0.99, 0.0),
        Relation::Separate
    );
    // What the rules know stands.
    assert_eq!(
        judged("Lives in Paris", "Lives in Lyon", 0.0, 0.0),
        Relation::Contradicts
    );
}

#[test]
fn two_names_are_two_things() {
    use Relation::{Contradicts, Same, Separate};
    for (old, new, wanted) in [
        ("My sister is called Ine", "My sister is called Ines", Separate),
        // One has one boss.
        ("Boss is called Jones", "Boss is called Jon", Contradicts),
        ("My dog is called quokkaon", "My dog is called quokkaun", Separate),
        ("quokkaon barks at night", "quokkaun barks at night", Separate),
        ("Quokkaon barks at night", "Quokkaun barks at night", Separate),
        ("My friend Lena likes tea", "My friend Lana likes tea", Separate),
        ("My sister is called ines", "My sister is called Ines", Same),
        ("Is allergic to peanuts", "Is alergic to peanuts", Same),
    ] {
        check(old, new, Kind::Biography, 0.97, wanted);
        let statement = |text| Statement {
            text,
            kind: Kind::Biography,
            confidence: 0.9,
            at_ms: 0,
        };
        let judged = Judgement {
            replaces: 0.0,
            same: 0.99,
        };
        let found = relation(&statement(old), &statement(new), 0.9, Some(judged));
        assert_eq!(found, wanted, "{old} / {new}, by the classifier");
    }
}

#[test]
fn a_value_of_another_sort_replaces_nothing() {
    use Relation::{Contradicts, Separate};
    // What is said, what the classifier (that is sure of each) may replace, and what it may not.
    let cases: [(&str, &[&str], &[&str]); 12] = [
        (
            "Actually I prefer green now",
            &[
                "My favourite colour is blue",
                "I like red best",
                "The colour I like most is teal",
            ],
            &[
                "I'm vegan",
                "I live in Lyon",
                "I work as a nurse",
                "I drink coffee in the morning",
                "I play tennis on Mondays",
                "I speak Dutch",
                "My dog is a poodle",
            ],
        ),
        (
            "I prefer tea now",
            &[
                "I always drink coffee in the morning",
                "Coffee is what gets me going",
            ],
            &[
                "I'm vegan and happy",
                "My favourite colour is blue",
                "I speak French",
                "I cycle to work",
            ],
        ),
        (
            "I like tennis now",
            &["My sport is squash", "I go climbing every week"],
            &[
                "I'm vegetarian",
                "My favourite colour is blue",
                "I speak Italian",
                "I live in Ghent",
            ],
        ),
        (
            "I'm vegan now",
            &["I love a good steak", "My diet is keto"],
            &["My favourite colour is green", "I live in Lyon"],
        ),
        (
            "Now it's green",
            &["The colour of my room is white"],
            &["I'm vegan", "I take the tram"],
        ),
        (
            "I prefer Spanish now",
            &["I am learning French"],
            &["I'm vegan", "My favourite colour is red"],
        ),
        // No list has every town, job and sport; but they are no colours and diets.
        (
            "I prefer Lisbon now",
            &["I would settle anywhere near Porto", "My home is Ghent"],
            &["I'm vegan", "My favourite colour is red"],
        ),
        (
            "I prefer padel now",
            &["I go climbing every week", "My sport is squash"],
            &["I'm vegan", "My favourite colour is red"],
        ),
        (
            "I'm a nurse now",
            &["My job is in a bakery"],
            &["I'm vegan", "My favourite colour is red", "I drink tea"],
        ),
        (
            "I prefer jazz now",
            &["I listen to rock all day"],
            &["I'm vegan", "My favourite colour is red", "I drink tea"],
        ),
        (
            "Actually I prefer the tram now",
            &["I cycle to work", "I go by bus"],
            &["I'm vegan", "My favourite colour is red"],
        ),
        // What says what it is about is the classifier's to judge.
        (
            "These days I eat fish again",
            &["I'm vegan", "I'm vegetarian"],
            &[],
        ),
    ];
    let statement = |text| Statement {
        text,
        kind: Kind::Preference,
        confidence: 0.9,
        at_ms: 0,
    };
    let judged = Some(Judgement {
        replaces: 0.999,
        same: 0.0,
    });
    let mut wrong = Vec::new();
    for (new, replaced, kept) in cases {
        let all = replaced.iter().map(|old| (old, Contradicts));
        for (old, wanted) in all.chain(kept.iter().map(|old| (old, Separate))) {
            let found = relation(&statement(old), &statement(new), 0.5, judged);
            if found != wanted {
                wrong.push(format!("{old} / {new}: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_said_of_one_replaces_nothing_of_another_by_a_like_name() {
    let statement = |text| Statement {
        text,
        kind: Kind::Biography,
        confidence: 0.9,
        at_ms: 0,
    };
    let judged = Some(Judgement {
        replaces: 0.999,
        same: 0.0,
    });
    let judge = |old, new| relation(&statement(old), &statement(new), 0.9, judged);
    assert_eq!(
        judge("quokkaon barks at night", "quokkaun barks at noon"),
        Relation::Separate
    );
    assert_eq!(
        judge("quokkaon barks at night", "quokkaon sleeps at night"),
        Relation::Contradicts
    );
}

fn decided(new: (&str, Kind, f32, i64), old: (&str, Kind, f32, i64), pinned: bool) -> Vec<Action<u8>> {
    let statement = |(text, kind, confidence, at_ms)| Statement {
        text,
        kind,
        confidence,
        at_ms,
    };
    let candidate = Candidate {
        id: 7,
        statement: statement(old),
        pinned,
        in_review: false,
        cosine: 0.8,
        judged: None,
    };
    decide(&statement(new), &[candidate])
}

#[test]
fn kinds_decide_who_wins() {
    let lives = |text, confidence, at_ms| (text, Kind::Biography, confidence, at_ms);
    let newest_wins = vec![
        Action::Insert,
        Action::Supersede {
            old: 7,
            valid_to_ms: 2,
        },
    ];
    let review = vec![Action::InsertForReview, Action::Ask { old: 7 }];
    let old = lives("Lives in Porto", 0.9, 1);
    assert_eq!(decided(lives("Lives in Graz", 0.9, 2), old, false), newest_wins);
    assert_eq!(decided(lives("Lives in Graz", 0.8, 2), old, false), review);
    assert_eq!(decided(lives("Lives in Graz", 0.9, 2), old, true), review);
    assert_eq!(
        decided(lives("Resides in Porto", 0.9, 2), old, false),
        vec![Action::Reinforce(7)]
    );
    // What was said earlier arrives later.
    assert_eq!(
        decided(lives("Lives in Graz", 0.9, 0), old, false),
        vec![Action::InsertSuperseded { by: 7 }]
    );
    // Known is known, whichever was said first; and what says less than what was said later, too.
    for (said, known) in [
        ("Resides in Porto", "Lives in Porto"),
        ("Has a dog", "Has a dog named Rex"),
    ] {
        assert_eq!(
            decided(lives(said, 0.9, 0), lives(known, 0.9, 1), false),
            vec![Action::Reinforce(7)]
        );
    }
    assert_eq!(
        decided(
            lives("Has a dog named Rex", 0.9, 0),
            lives("Has a dog", 0.9, 1),
            false
        ),
        vec![Action::Insert]
    );
    let allergy = ("Is allergic to nuts", Kind::Constraint, 0.8, 1);
    let denied = ("Is not allergic to nuts", Kind::Biography, 1.0, 2);
    assert_eq!(decided(denied, allergy, false), review);
    let likes = ("Likes jazz", Kind::Preference, 1.0, 1);
    assert_eq!(
        decided(("No longer likes jazz", Kind::Preference, 0.7, 2), likes, false),
        newest_wins
    );
}

#[test]
fn what_is_not_settled_replaces_nothing() {
    let candidate = |id, text, kind, in_review| Candidate {
        id,
        statement: Statement {
            text,
            kind,
            confidence: 0.9,
            at_ms: 1,
        },
        pinned: false,
        in_review,
        cosine: 0.8,
        judged: None,
    };
    let said = |text, confidence, at_ms| Statement {
        text,
        kind: Kind::Biography,
        confidence,
        at_ms,
    };
    let certain = candidate(1, "Lives in Porto", Kind::Biography, false);
    let mood = candidate(2, "Lives in Graz", Kind::Context, false);
    let waiting = candidate(3, "Lives in Rome", Kind::Biography, true);
    // Too weak against one of them: then none of them is replaced.
    assert_eq!(
        decide(&said("Lives in Lyon", 0.7, 2), &[certain, mood, waiting]),
        [
            Action::InsertForReview,
            Action::Ask { old: 1 },
            Action::Ask { old: 2 }
        ]
    );
    // Nor does what is known, as long as it waits itself.
    assert_eq!(
        decide(&said("Lives in Rome", 0.7, 2), &[certain, mood, waiting]),
        [
            Action::Ask { old: 1 },
            Action::Ask { old: 2 },
            Action::Reinforce(3)
        ]
    );
    // Nor does what waits make history of what was said before it.
    assert_eq!(
        decide(&said("Lives in Porto", 0.9, 0), &[waiting]),
        [Action::Insert]
    );
}

#[test]
fn strange_texts_are_compared_too() {
    let long = "very ".repeat(20_000);
    let texts = [
        "",
        " ",
        "🙂🙂",
        "\u{202e}\u{0}\u{fffd}",
        "123",
        "not",
        "的人在有我他这",
        "لا أحب القهوة",
        "ไม่ชอบกาแฟ",
        "is is is is",
        long.as_str(),
    ];
    for a in texts {
        for b in texts {
            let relation = relation(
                &Statement {
                    text: a,
                    kind: Kind::Context,
                    confidence: 0.5,
                    at_ms: i64::MIN,
                },
                &Statement {
                    text: b,
                    kind: Kind::Constraint,
                    confidence: f32::NAN,
                    at_ms: i64::MAX,
                },
                f32::NAN,
                None,
            );
            assert!(
                a.trim().is_empty() || a != b || relation == Relation::Same,
                "{a:.20} {relation:?}"
            );
        }
    }
}
