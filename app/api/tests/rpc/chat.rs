use hearth_api::methods::chat::{
    ChatEvent, Edit, EditParams, Regenerate, RegenerateParams, Send, SendParams, Stop, StopParams,
    TurnOptions,
};
use hearth_api::methods::{Empty, chats, engine, generate, settings};
use hearth_api::types::{
    EngineEvent, FinishReason, MessageStatus, ResponseFormat, Role, SettingsChange, Turn,
};
use hearth_api::{ErrorCode, Update};

use crate::kit::{Bench, PATIENCE, Via, both, code, is_started, is_token, until};

both! {
    async fn a_chat_grows_branches_and_keeps_them(via: Via) {
        let bench = Bench::new(via).await;
        let params = SendParams { text: "hello there".into(), system: Some("be kind".into()), ..SendParams::default() };
        let mut call = bench.client.stream::<Send>(params);
        let mut events = Vec::new();
        let reply = loop {
            match call.next().await.unwrap() {
                Update::Event(event) => events.push(event),
                Update::Done(reply) => break reply.unwrap().message,
            }
        };
        assert!(matches!(events[0], ChatEvent::Loading { .. }), "{events:?}");
        let started = events.iter().find(|event| is_started(event)).unwrap();
        let ChatEvent::Started { chat, message, reply: reply_id, .. } = started else { unreachable!() };
        assert_eq!((*reply_id, *chat), (reply.id, reply.chat));
        let text: String = events.iter().filter_map(|e| if let ChatEvent::Token { text } = e { Some(text.as_str()) } else { None }).collect();
        assert_eq!((text.as_str(), reply.text.as_str()), ("hello there", "hello there"));
        assert_eq!((reply.status, reply.parent), (MessageStatus::Complete, Some(*message)));
        let metadata = reply.metadata.clone().unwrap();
        assert_eq!((metadata.finish_reason, metadata.usage.completion_tokens), (Some(FinishReason::Stop), 2));
        assert_eq!(metadata.context.system_tokens, 2);

        let again = RegenerateParams { message: reply.id, options: TurnOptions::default() };
        let second = bench.call::<Regenerate>(again).await.unwrap().message;
        assert_eq!(second.siblings, [reply.id, second.id]);

        let edit = EditParams { message: *message, text: "other words".into(), options: TurnOptions::default() };
        let edited = bench.call::<Edit>(edit).await.unwrap();
        assert_eq!(edited.message.siblings, [*message, edited.message.id]);
        assert_eq!(edited.reply.unwrap().text, "other words");

        let edit = EditParams { message: second.id, text: "my own".into(), options: TurnOptions::default() };
        let edited = bench.call::<Edit>(edit).await.unwrap();
        assert_eq!((edited.message.text.as_str(), edited.message.role), ("my own", Role::Assistant));
        assert!(edited.reply.is_none());
        let shown = bench.call::<chats::Show>(chats::ShowParams { chat: *chat, leaf: None }).await.unwrap();
        let texts: Vec<&str> = shown.messages.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(texts, ["hello there", "my own"]);
        assert_eq!((shown.chat.title.as_str(), shown.chat.message_count), ("hello there", 6));
        assert_eq!(shown.chat.system.as_deref(), Some("be kind"));

        // What the person corrected is what the model sees next.
        bench.say(Some(*chat), "and now").await.unwrap();
        let prompt = bench.fake.prompts.lock().unwrap().last().unwrap().clone();
        let prompt: Vec<&str> = prompt.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(prompt, ["be kind", "hello there", "my own", "and now"]);

        let back = chats::SetHeadParams { chat: *chat, message: reply.id };
        let shown = bench.call::<chats::SetHead>(back).await.unwrap();
        assert_eq!(shown.chat.head, Some(reply.id));
        bench.stop().await;
    }

    async fn one_answer_at_a_time_in_a_chat_and_stop_keeps_what_there_is(via: Via) {
        let bench = Bench::new(via).await;
        let mut counting = bench.client.stream::<Send>(SendParams { text: "count".into(), ..SendParams::default() });
        let ChatEvent::Started { chat, reply, .. } = until(&mut counting, is_started).await else { unreachable!() };
        until(&mut counting, is_token).await;
        assert_eq!(code(bench.say(Some(chat), "hi").await), ErrorCode::Busy);
        assert_eq!(bench.say(None, "elsewhere").await.unwrap().text, "elsewhere");
        assert!(bench.call::<Stop>(StopParams { reply }).await.unwrap().stopped);
        let message = counting.output().await.unwrap().message;
        assert_eq!(message.status, MessageStatus::Stopped);
        assert!(message.text.starts_with("1 "), "{}", message.text);
        assert!(!bench.call::<Stop>(StopParams { reply }).await.unwrap().stopped);
        assert_eq!(bench.say(Some(chat), "hi").await.unwrap().text, "hi");
        bench.stop().await;
    }

    async fn dropping_a_call_stops_its_answer_and_keeps_it(via: Via) {
        let bench = Bench::new(via).await;
        let mut counting = bench.client.stream::<Send>(SendParams { text: "count".into(), ..SendParams::default() });
        let ChatEvent::Started { chat, .. } = until(&mut counting, is_started).await else { unreachable!() };
        until(&mut counting, is_token).await;
        let mut changes = bench.engine.watch();
        drop(counting);
        bench.fake.cancelled.subscribe().wait_for(|count| *count == 1).await.unwrap();
        while !matches!(changes.recv().await.unwrap(), EngineEvent::ChatsChanged { .. }) {}
        let shown = bench.call::<chats::Show>(chats::ShowParams { chat, leaf: None }).await.unwrap();
        assert_eq!(shown.messages[1].status, MessageStatus::Stopped);
        assert!(shown.messages[1].text.starts_with("1 "));
        bench.stop().await;
    }

    async fn cancelling_a_call_still_gives_what_there_is(via: Via) {
        let bench = Bench::new(via).await;
        let mut counting = bench.client.stream::<Send>(SendParams { text: "count".into(), ..SendParams::default() });
        until(&mut counting, is_token).await;
        counting.cancel();
        let message = counting.output().await.unwrap().message;
        assert_eq!(message.metadata.unwrap().finish_reason, Some(FinishReason::Cancelled));

        let messages = vec![Turn { role: Role::User, content: "count".into() }];
        let params = generate::CompleteParams { messages, ..Default::default() };
        let mut counting = bench.client.stream::<generate::Complete>(params);
        while !matches!(counting.next().await.unwrap(), Update::Event(generate::CompleteEvent::Token { .. })) {}
        counting.cancel();
        assert_eq!(counting.output().await.unwrap().finish_reason, FinishReason::Cancelled);
        bench.stop().await;
    }

    async fn what_does_not_fit_is_left_out_and_told(via: Via) {
        let bench = Bench::with_window(via, 400).await;
        let words = "w ".repeat(61);
        let first = bench.say(None, &words).await.unwrap();
        let chat = first.chat;
        let mut reply = first.clone();
        for _ in 0..2 {
            reply = bench.say(Some(chat), &words).await.unwrap();
        }
        let context = reply.metadata.unwrap().context;
        assert_eq!((context.window, context.reserved_for_reply), (400, 100));
        assert!(context.prompt_tokens <= 300, "{context:?}");
        assert_eq!(context.left_out_turns, [first.parent.unwrap(), first.id]);
        assert_eq!((context.left_out_tokens, context.kept_turns), (122, 3));

        let before = bench.call::<chats::Show>(chats::ShowParams { chat, leaf: None }).await.unwrap();
        let error = bench.say(Some(chat), &"w ".repeat(500)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ContextTooLarge);
        // 500 of the question, 64 left for the reply, and Hearth's own instructions.
        assert_eq!(error.details.unwrap(), serde_json::json!({"needed_tokens": 575, "window_tokens": 400}));
        let after = bench.call::<chats::Show>(chats::ShowParams { chat, leaf: None }).await.unwrap();
        assert_eq!(before, after);

        let messages = vec![Turn { role: Role::User, content: "w ".repeat(500) }];
        let params = generate::CompleteParams { messages, ..Default::default() };
        assert_eq!(code(bench.call::<generate::Complete>(params).await), ErrorCode::ContextTooLarge);
        bench.stop().await;
    }

    async fn a_huge_schema_is_refused(via: Via) {
        let bench = Bench::new(via).await;
        let of = |bytes: usize| {
            let schema = serde_json::json!({"description": "x".repeat(bytes)});
            let messages = vec![Turn { role: Role::User, content: "hello".into() }];
            generate::CompleteParams { messages, format: ResponseFormat::JsonSchema { schema }, ..Default::default() }
        };
        bench.call::<generate::Complete>(of(1 << 10)).await.unwrap();
        let refused = bench.call::<generate::Complete>(of(256 << 10)).await;
        assert_eq!(code(refused), ErrorCode::InvalidRequest);
        bench.stop().await;
    }

    async fn a_model_that_fails_leaves_what_it_wrote(via: Via) {
        let bench = Bench::new(via).await;
        let mut call = bench.client.stream::<Send>(SendParams { text: "fail".into(), ..SendParams::default() });
        let ChatEvent::Started { chat, .. } = until(&mut call, is_started).await else { unreachable!() };
        assert_eq!(code(call.output().await), ErrorCode::ModelInvalid);
        let shown = bench.call::<chats::Show>(chats::ShowParams { chat, leaf: None }).await.unwrap();
        let reply = &shown.messages[1];
        assert_eq!((reply.text.as_str(), reply.status), ("partial", MessageStatus::Failed));
        assert_eq!(reply.metadata.as_ref().unwrap().error.as_deref(), Some("model_invalid"));
        assert_eq!(bench.say(Some(chat), "go on").await.unwrap().status, MessageStatus::Complete);
        bench.stop().await;
    }

    async fn incognito_chats_are_never_stored(via: Via) {
        let bench = Bench::new(via).await;
        let stored = |bench: &Bench| {
            let engine = bench.engine.clone();
            async move { engine.status().await.unwrap().database.messages }
        };
        let params = SendParams { text: "zanzibar secret".into(), incognito: true, ..SendParams::default() };
        let reply = bench.call::<Send>(params).await.unwrap().message;
        let chat = reply.chat;
        bench.say(Some(chat), "zanzibar again").await.unwrap();
        let edit = EditParams { message: reply.parent.unwrap(), text: "zanzibar third".into(), options: TurnOptions::default() };
        bench.call::<Edit>(edit).await.unwrap();
        assert_eq!(stored(&bench).await, 0);
        let listed = bench.call::<chats::List>(chats::ListParams::default()).await.unwrap().chats;
        assert_eq!((listed.len(), listed[0].incognito, listed[0].message_count), (1, true, 6));
        let search = chats::SearchParams { text: "zanzibar".into(), limit: None, chat: None };
        assert!(bench.call::<chats::Search>(search).await.unwrap().hits.is_empty());
        let dir = bench.stop().await;
        for file in std::fs::read_dir(crate::kit::home_of(dir.path())).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(8).any(|window| window == b"zanzibar"));
        }
        let engine = hearth_core::Engine::open(crate::kit::options(dir.path(), std::sync::Arc::new(crate::fake::FakeLoader::new(9)))).await.unwrap();
        assert!(engine.list_chats(10, 0).await.unwrap().is_empty());
        engine.stop().await;
    }

    async fn chats_are_found_named_moved_and_deleted(via: Via) {
        let bench = Bench::new(via).await;
        let chat = bench.say(None, "the quick brown fox").await.unwrap().chat;
        bench.call::<chats::Rename>(chats::RenameParams { chat, title: " Fox\n hunt ".into() }).await.unwrap();
        let search = chats::SearchParams { text: "brown".into(), limit: None, chat: None };
        let hits = bench.call::<chats::Search>(search).await.unwrap().hits;
        assert_eq!((hits[0].chat, hits[0].chat_title.as_str()), (chat, "Fox hunt"));
        assert!(hits[0].snippet.contains("«brown»"), "{}", hits[0].snippet);

        let mut export = bench.client.stream::<chats::Export>(chats::ExportParams { which: chats::Selection::All });
        let mut document = String::new();
        let exported = loop {
            match export.next().await.unwrap() {
                Update::Event(piece) => document.push_str(&piece.chunk),
                Update::Done(exported) => break exported.unwrap(),
            }
        };
        assert_eq!(exported.bytes, document.len() as u64);
        let all = chats::DeleteParams { which: chats::Selection::All };
        assert_eq!(bench.call::<chats::Delete>(all).await.unwrap().chats, 1);
        assert_eq!(code(bench.call::<chats::Show>(chats::ShowParams { chat, leaf: None }).await), ErrorCode::NotFound);
        let source = chats::ImportSource::Text { text: document };
        let import = chats::ImportParams { source, format: chats::ImportFormat::Auto, remember: false };
        let imported = bench.call::<chats::Import>(import).await.unwrap();
        assert_eq!((imported.chats, imported.messages), (1, 2));
        let shown = bench.call::<chats::Show>(chats::ShowParams { chat, leaf: None }).await.unwrap();
        assert_eq!(shown.messages[1].metadata.as_ref().unwrap().usage.completion_tokens, 4);
        bench.stop().await;
    }

    async fn settings_hold_for_answers_that_name_nothing_else(via: Via) {
        let bench = Bench::new(via).await;
        let mut changes = bench.client.stream::<engine::Watch>(Empty {});
        let change = SettingsChange { max_reply_tokens: Some(2), system_prompt: Some("short".into()), ..Default::default() };
        // The watch begins on its own time: change until it tells.
        let told = async {
            loop {
                match changes.next().await.unwrap() {
                    Update::Event(EngineEvent::SettingsChanged) => break,
                    Update::Event(_) => {}
                    Update::Done(result) => panic!("{result:?}"),
                }
            }
        };
        let set = async {
            loop {
                bench.call::<settings::Set>(change.clone()).await.unwrap();
            }
        };
        let either = async {
            tokio::select! {
                () = told => {}
                () = set => {}
            }
        };
        tokio::time::timeout(PATIENCE, either).await.unwrap();
        let reply = bench.say(None, "one two three").await.unwrap();
        assert_eq!(reply.metadata.unwrap().finish_reason, Some(FinishReason::Length));
        assert_eq!(reply.text, "one two ");
        let bad = SettingsChange { context_length: Some(3), ..Default::default() };
        assert_eq!(code(bench.call::<settings::Set>(bad).await), ErrorCode::InvalidRequest);
        let missing = SettingsChange { chat_model: Some("qwen3-4b-q4_k_m".into()), ..Default::default() };
        assert_eq!(code(bench.call::<settings::Set>(missing).await), ErrorCode::ModelMissing);
        assert_eq!(bench.call::<settings::Get>(Empty {}).await.unwrap().max_reply_tokens, Some(2));
        bench.stop().await;
    }
}
