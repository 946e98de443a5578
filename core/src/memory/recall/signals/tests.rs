use super::*;

const NOW_MS: i64 = 1_684_411_200_000;
const DAY: i64 = 86_400_000;

fn turn(speaker: &str, text: &str) -> Candidate {
    Candidate {
        text: text.into(),
        speaker: Some(speaker.into()),
        by_person: true,
        at_ms: NOW_MS - 30 * DAY,
        ..Candidate::default()
    }
}

fn measured(question: &str, candidates: &[Candidate]) -> Vec<Signals> {
    let mut question = Question::new(question, &[], NOW_MS);
    question.leave_out(&named_speakers(&question, candidates));
    let frequencies = Frequencies {
        rows: 1000,
        with_word: question.words.iter().map(|_| 10).collect(),
    };
    signals(&question, &frequencies, candidates)
}

#[track_caller]
fn near(a: f32, b: f32) {
    assert!((a - b).abs() < 1e-3, "{a} is not {b}");
}

#[test]
fn words_are_those_of_the_turn_and_the_one_before() {
    let answer = Candidate {
        previous: "Which colour has your new bike?".into(),
        ..turn("Ana", "A bright red")
    };
    let all = measured(
        "What colour is the bike?",
        &[
            answer,
            turn("Ana", "My bike has a colour"),
            turn("Ana", "It rains"),
        ],
    );
    near(all[1].words, 1.0);
    assert!(all[0].words > 0.5 && all[2].words == 0.0, "{all:?}");
    near(all[0].cover, 0.0);
    near(all[1].cover, 1.0);
}

#[test]
fn rare_words_count_more() {
    let question = Question::new("zebra house", &[], NOW_MS);
    let frequencies = Frequencies {
        rows: 1000,
        with_word: vec![1, 900],
    };
    let all = signals(&question, &frequencies, &[turn("A", "zebra"), turn("A", "house")]);
    assert!(all[0].cover > 0.9 && all[1].cover < 0.1, "{all:?}");
}

#[test]
fn a_sitting_is_covered_by_its_turns_together() {
    let of = |sitting, text| Candidate {
        sitting,
        ..turn("Ana", text)
    };
    let all = measured("red bike", &[of(1, "a bike"), of(1, "is red"), of(2, "a bike")]);
    near(all[0].chat_cover, 1.0);
    near(all[2].chat_cover, 0.5);
    near(all[0].chat_words, 1.0);
    near(all[2].chat_words, 0.5);
}

#[test]
fn cosines_are_measured_by_the_best() {
    let cosine = |cosine, neighbour| Candidate {
        cosine,
        neighbour_cosine: neighbour,
        ..turn("Ana", "x")
    };
    let all = measured(
        "y",
        &[
            cosine(Some(0.6), Some(0.3)),
            cosine(Some(0.4), None),
            cosine(None, Some(-0.5)),
        ],
    );
    near(all[0].near, 1.2);
    near(all[0].near_neighbour, 0.6);
    near(all[2].near, 0.0);
    near(all[2].near_neighbour, 0.0);
}

#[test]
fn the_named_speaker_is_meant() {
    let turns = [turn("Ana", "I like tea"), turn("Ben", "I like tea")];
    let speakers = |question: &str| {
        measured(question, &turns)
            .iter()
            .map(|s| s.speaker)
            .collect::<Vec<_>>()
    };
    assert_eq!(speakers("Does Ana's tea taste?"), [1.0, 0.0]);
    assert_eq!(speakers("Do Ana and Ben like tea?"), [0.0, 0.0]);
    assert_eq!(speakers("Who likes tea?"), [0.0, 0.0]);
}

#[test]
fn without_names_i_is_the_person_and_you_the_assistant() {
    let turns = [true, false].map(|by_person| Candidate {
        by_person,
        speaker: None,
        ..turn("", "Take the train")
    });
    let speakers = |question: &str| {
        measured(question, &turns)
            .iter()
            .map(|s| s.speaker)
            .collect::<Vec<_>>()
    };
    assert_eq!(speakers("Which train did I take?"), [1.0, 0.0]);
    assert_eq!(speakers("Which train did you recommend?"), [0.0, 1.0]);
    assert_eq!(speakers("Which train goes to Rome?"), [0.0, 0.0]);
}

#[test]
fn answers_tell_and_questions_ask() {
    let answer = Candidate {
        previous: "Where were you?".into(),
        ..turn("Ana", "I was in Rome last week. And you?")
    };
    let one = measured("When was Ana in Rome?", &[answer])[0];
    near(one.answers, 1.0);
    near(one.asks, 0.25);
    near(one.first_person, 1.0);
    near(one.tells_time, 1.0);
    assert!(one.length < 1.0 && one.excess == 0.0);
    let long = measured("Rome", &[turn("Ana", &"word ".repeat(120))])[0];
    near(long.length, 1.0);
    near(long.excess, 2f32.ln());
}

#[test]
fn standing_wishes_bear_on_requests_only() {
    let wish = [
        turn("Ana", "Always use metric units."),
        turn("Ana", "I prefer wood over steel"),
    ];
    let request = measured("Convert a foot for me.", &wish);
    assert_eq!((request[0].instruction, request[1].preference), (1.0, 1.0));
    let question = measured("What did I say about units?", &wish);
    assert_eq!((question[0].instruction, question[1].preference), (0.0, 0.0));
}

#[test]
fn the_time_asked_for() {
    let at = |days| Candidate {
        at_ms: NOW_MS - days * DAY,
        ..turn("Ana", "Rome")
    };
    // Asked on 18 May 2023: 40 days before it was 8 April.
    let all = measured("Where was Ana in April 2023?", &[at(40), at(10), at(60)]);
    near(all[0].at_time, 1.0);
    assert!((0.1..0.5).contains(&all[1].at_time), "{}", all[1].at_time);
    near(all[2].at_time, 0.0);
}

#[test]
fn nothing_is_no_reason_to_fail() {
    assert_eq!(measured("", &[]).len(), 0);
    let one = measured("", &[Candidate::default()])[0];
    assert!(one.to_array().iter().all(|n| n.is_finite()), "{one:?}");
    assert_eq!(Signals::from_array(one.to_array()), one);
    assert_eq!(Signals::NAMES[0], "words");
}
