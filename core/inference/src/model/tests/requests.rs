//! Queueing, slots, cancellation, ends and failures.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use super::echo::{Call, REPEAT, SLOTS, WINDOW, echo, plain_echo, repeat, say};
use super::*;
use crate::decoder::DecoderError;
use crate::testing::{END_THINK, THINK};

fn texts(events: &[GenerateEvent]) -> Vec<&str> {
    let mut texts = Vec::new();
    for event in events {
        if let GenerateEvent::Text(text) = event {
            texts.push(text.as_str());
        }
    }
    texts
}

#[test]
fn an_answer_streams_and_ends() {
    let events = generate(&plain_echo(), greedy(say("Grüße"), 50)).all();
    assert_eq!(texts(&events), ["G", "r", "ü", "ß", "e"]);
    let Some(GenerateEvent::Done(done)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!((done.text.as_str(), done.reasoning.as_str()), ("Grüße", ""));
    assert_eq!(done.finish, FinishReason::Stop);
    // Seven bytes and the end token.
    assert_eq!(
        (done.prompt_tokens, done.reused_tokens, done.completion_tokens),
        (8, 0, 8)
    );
    assert!(done.timings.first_token_ms > 0.0 && done.timings.decode_ms >= 0.0);
    let prefill: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            GenerateEvent::Prefill { done, total, reused } => Some((*done, *total, *reused)),
            _ => None,
        })
        .collect();
    assert_eq!(prefill, [(0, 8, 0), (8, 8, 0)]);
}

#[test]
fn limits_end_an_answer_with_length() {
    let model = plain_echo();
    let done = generate(&model, greedy(say("abcdef"), 3)).done();
    assert_eq!(
        (done.text.as_str(), done.finish, done.completion_tokens),
        ("abc", FinishReason::Length, 3)
    );
    let done = generate(&model, greedy(say("abcdef"), 0)).done();
    assert_eq!(
        (done.text.as_str(), done.finish, done.completion_tokens),
        ("", FinishReason::Length, 0)
    );
    // The window ends before the answer does.
    let done = generate(&model, greedy(repeat(&[97; 150]), 1000)).done();
    assert_eq!(done.finish, FinishReason::Length);
    assert_eq!(done.prompt_tokens + done.completion_tokens, WINDOW);
}

#[test]
fn a_stop_string_over_token_borders_is_never_shown() {
    let mut request = greedy(say("one\n\nUser: two"), 50);
    request.stop = vec![String::new(), "\n\nUser:".into()];
    let events = generate(&plain_echo(), request).all();
    assert_eq!(texts(&events).concat(), "one");
    let Some(GenerateEvent::Done(done)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!((done.text.as_str(), done.finish), ("one", FinishReason::Stop));
}

#[test]
fn thinking_is_kept_apart_when_asked_for() {
    let model = plain_echo();
    let answer = [&[THINK][..], &[104, 109], &[END_THINK], &[79, 75]].concat();
    let done = generate(&model, greedy(repeat(&answer), 50)).done();
    assert_eq!((done.reasoning.as_str(), done.text.as_str()), ("hm", "OK"));
    let mut request = greedy(repeat(&answer), 50);
    request.reasoning = false;
    assert_eq!(generate(&model, request).done().text, "<think>hm</think>OK");
    // Stop strings are the answer's: they don't look at the thinking.
    let mut request = greedy(repeat(&answer), 50);
    request.stop = vec!["m".into()];
    let done = generate(&model, request).done();
    assert_eq!((done.reasoning.as_str(), done.text.as_str()), ("hm", "OK"));
}

#[test]
fn what_cannot_be_served_fails_with_numbers() {
    let model = plain_echo();
    let fail = |request| generate(&model, request).last().unwrap_err();
    assert_eq!(fail(greedy(vec![], 5)), GenerateError::EmptyPrompt);
    let too_long = GenerateError::PromptTooLong {
        prompt_tokens: 200,
        window_tokens: 200,
    };
    assert_eq!(fail(greedy(vec![1; 200], 5)), too_long);
    assert!(too_long.to_string().contains("200 tokens"));
    let unknown = GenerateError::UnknownToken {
        token: 5000,
        vocabulary_size: testing::VOCABULARY,
    };
    assert_eq!(fail(greedy(vec![5000], 5)), unknown);
    let mut request = greedy(say("a"), 5);
    request.sampling.top_p = 2.0;
    assert!(matches!(fail(request), GenerateError::Sampling(_)));
    let mut request = greedy(say("a"), 5);
    request.format = ResponseFormat::JsonSchema(serde_json::json!({ "type": "strange" }));
    assert!(matches!(
        fail(request),
        GenerateError::Constraint(ConstraintError::Schema(_))
    ));
    assert_eq!(
        generate(&model, greedy(say("still here"), 50)).done().text,
        "still here"
    );
}

#[test]
fn the_next_turn_computes_only_what_is_new() {
    let (model, calls) = echo(Box::new(|_| Ok(())));
    let first = greedy(say("hello"), 50);
    let mut next = first.tokens.clone();
    next.extend(b"hello".map(u32::from));
    next.extend([1, 2, 3]);
    generate(&model, first).done();
    calls.lock().unwrap().clear();
    let done = generate(&model, greedy(next.clone(), 1)).done();
    assert_eq!((done.prompt_tokens, done.reused_tokens), (14, 11));
    assert_eq!(calls.lock().unwrap()[0].tokens, [1, 2, 3]);
    // The same prompt again: only its last token.
    assert_eq!(generate(&model, greedy(next, 1)).done().reused_tokens, 13);
}

/// A hook that waits for a word before each computation, and where to say it.
fn held() -> (Sender<()>, Receiver<Call>, LanguageModel) {
    let (go, wait) = channel::<()>();
    let (report, reports) = channel();
    let hook = move |call: &Call| {
        let _ = report.send(call.clone());
        // A closed channel lets everything pass.
        let _ = wait.recv_timeout(PATIENCE);
        Ok(())
    };
    (go, reports, echo(Box::new(hook)).0)
}

#[test]
fn cancelling_takes_effect_within_one_token() {
    let (go, calls, model) = held();
    let events = generate(&model, greedy(say("abcdefgh"), 50));
    for _ in 0..3 {
        calls.recv_timeout(PATIENCE).unwrap();
        go.send(()).unwrap();
    }
    // The fourth computation has begun; the word comes in its middle.
    calls.recv_timeout(PATIENCE).unwrap();
    events.ticket.as_ref().unwrap().cancel();
    go.send(()).unwrap();
    let done = events.done();
    assert_eq!(
        (done.finish, done.text.as_str(), done.completion_tokens),
        (FinishReason::Cancelled, "abc", 3)
    );
    assert!(
        calls.try_recv().is_err(),
        "something was computed after the cancellation"
    );
}

#[test]
fn dropping_the_ticket_cancels_in_the_queue_too() {
    let (go, calls, model) = held();
    let running: Vec<_> = (0..SLOTS)
        .map(|_| generate(&model, greedy(say("ab"), 50)))
        .collect();
    calls.recv_timeout(PATIENCE).unwrap();
    let mut waiting = generate(&model, greedy(say("cd"), 50));
    let behind = generate(&model, greedy(say("ef"), 50));
    waiting.ticket = None;
    drop(go);
    let events = waiting.all();
    let Some(GenerateEvent::Done(done)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (done.finish, done.completion_tokens),
        (FinishReason::Cancelled, 0)
    );
    let events = behind.all();
    assert!(matches!(events[0], GenerateEvent::Queued { .. }), "{events:?}");
    assert_eq!(texts(&events).concat(), "ef");
    for running in running {
        assert_eq!(running.done().text, "ab");
    }
}

#[test]
fn requests_with_a_slot_take_turns() {
    let (go, calls, model) = held();
    let texts = ["aaaa", "bbbb", "cccc", "dddd"];
    let first = generate(&model, greedy(say(texts[0]), 50));
    // While the first is held, the others arrive: from then on they alternate.
    calls.recv_timeout(PATIENCE).unwrap();
    let others: Vec<_> = texts[1..]
        .iter()
        .map(|text| generate(&model, greedy(say(text), 50)))
        .collect();
    drop(go);
    let order: Vec<usize> = calls.iter().take(15).map(|call| call.slot).collect();
    for round in order.chunks_exact(4) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2, 3], "{order:?}");
    }
    assert_eq!(first.done().text, "aaaa");
    for (events, text) in others.into_iter().zip(&texts[1..]) {
        assert_eq!(&events.done().text, text);
    }
}

#[test]
fn a_hundred_clients_all_get_their_own_answer() {
    let model = plain_echo();
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let model = model.clone();
            std::thread::spawn(move || {
                let text = format!("answer {number}");
                let mut request = greedy(say(&text), 50);
                request.session = Some(number % 7);
                let done = generate(&model, request).done();
                assert_eq!((done.text, done.finish), (text, FinishReason::Stop));
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_panic_fails_everybody_and_nobody_hangs() {
    let (sender, gate) = sync_channel::<()>(0);
    let hook = move |call: &Call| {
        let _ = gate.recv_timeout(PATIENCE);
        assert!(call.tokens[0] != 98, "a defect");
        Ok(())
    };
    let (model, _) = echo(Box::new(hook));
    let doomed: Vec<_> = (0..10).map(|_| generate(&model, greedy(say("ab"), 50))).collect();
    drop(sender);
    for events in doomed {
        let error = events.last().unwrap_err();
        assert!(
            matches!(&error, GenerateError::ModelDown(why) if why.contains("a defect")),
            "{error}"
        );
    }
    let later = generate(&model, greedy(say("ab"), 50)).last().unwrap_err();
    assert!(matches!(later, GenerateError::ModelDown(_)));
    assert!(model.failure().is_some_and(|why| why.contains("a defect")));
}

#[test]
fn a_failed_computation_fails_only_its_request() {
    let hook = |call: &Call| {
        if call.tokens.contains(&120) {
            Err(DecoderError::Backend("no more memory".into()))
        } else {
            Ok(())
        }
    };
    let (model, _) = echo(Box::new(hook));
    let error = generate(&model, greedy(say("ax"), 50)).last().unwrap_err();
    assert!(
        matches!(&error, GenerateError::Compute(why) if why.contains("no more memory")),
        "{error}"
    );
    assert_eq!(generate(&model, greedy(say("ay"), 50)).done().text, "ay");
    assert_eq!(model.failure(), None);
}

#[test]
fn a_listener_that_panics_harms_nobody_else() {
    let model = plain_echo();
    let ticket = model.generate(
        greedy(say("abc"), 50),
        Box::new(|event| {
            assert!(
                !matches!(event, GenerateEvent::Text(_)),
                "a defect of the listener"
            );
        }),
    );
    assert_eq!(generate(&model, greedy(say("fine"), 50)).done().text, "fine");
    drop(ticket);
}

#[test]
fn unloading_fails_what_is_running() {
    let (go, calls, model) = held();
    let events = generate(&model, greedy(say("abcdefgh"), 50));
    calls.recv_timeout(PATIENCE).unwrap();
    drop(model);
    drop(go);
    let error = events.last().unwrap_err();
    assert!(
        matches!(&error, GenerateError::ModelDown(why) if why.contains("unloaded")),
        "{error}"
    );
}

#[test]
fn a_warm_conversation_survives_others() {
    let (model, calls) = echo(Box::new(|_| Ok(())));
    let conversation = |session: u64, len: u32| {
        let tokens: Vec<u32> = (0..len).map(|n| 1 + (n * (session as u32 + 3)) % 90).collect();
        GenerateRequest {
            session: Some(session),
            ..greedy(tokens, 1)
        }
    };
    for session in 0..SLOTS as u64 {
        generate(&model, conversation(session, 50)).done();
    }
    for session in 0..SLOTS as u64 {
        assert_eq!(
            generate(&model, conversation(session, 60)).done().reused_tokens,
            50,
            "session {session}"
        );
    }
    // A fifth takes the place of the one that was not used for longest.
    generate(&model, conversation(9, 50)).done();
    assert_eq!(generate(&model, conversation(3, 70)).done().reused_tokens, 60);
    calls.lock().unwrap().clear();
    assert_eq!(
        generate(&model, conversation(0, 70)).done().reused_tokens,
        1,
        "only the first token agrees"
    );
}

#[test]
fn every_listener_hears_one_end() {
    let model = plain_echo();
    let ends = Arc::new(Mutex::new(vec![0; 30]));
    let (sender, receiver) = channel();
    for number in 0..30usize {
        let (ends, sender) = (Arc::clone(&ends), sender.clone());
        let prompt = if number % 3 == 0 { vec![] } else { say("text") };
        let ticket = model.generate(
            greedy(prompt, 50),
            Box::new(move |event| {
                let end = matches!(event, GenerateEvent::Done(_) | GenerateEvent::Failed(_));
                let mut ends = ends.lock().unwrap();
                assert_eq!(ends[number], 0, "an event after the end");
                ends[number] += usize::from(end);
                if end {
                    let _ = sender.send(());
                }
            }),
        );
        if number % 2 == 0 {
            drop(ticket);
        } else {
            std::mem::forget(ticket);
        }
    }
    for _ in 0..30 {
        receiver.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(*ends.lock().unwrap(), vec![1; 30]);
    assert_eq!(REPEAT, 0);
}
