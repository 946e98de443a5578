//! Random operations on chats, compared with a model in plain memory.

use std::collections::BTreeMap;

use hearth_store::{
    ChatId, ChatQuery, FinishedMessage, MessageId, MessageStatus, NewChat, Role, SearchQuery, Store,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::kit::{Profile, new_message};

#[derive(Debug, Clone)]
enum Op {
    CreateChat,
    DeleteChat(usize),
    Append {
        chat: usize,
        parent: Option<usize>,
        streaming: bool,
    },
    Update(usize),
    Finish(usize),
    SetHead {
        chat: usize,
        message: usize,
    },
    Reopen,
    ExportAndImport,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::CreateChat),
        1 => any::<usize>().prop_map(Op::DeleteChat),
        12 => (any::<usize>(), proptest::option::weighted(0.8, any::<usize>()), proptest::bool::weighted(0.3))
            .prop_map(|(chat, parent, streaming)| Op::Append { chat, parent, streaming }),
        3 => any::<usize>().prop_map(Op::Update),
        3 => any::<usize>().prop_map(Op::Finish),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(chat, message)| Op::SetHead { chat, message }),
        1 => Just(Op::Reopen),
        1 => Just(Op::ExportAndImport),
    ]
}

#[derive(Debug, Clone)]
struct Node {
    id: MessageId,
    parent: Option<MessageId>,
    text: String,
    status: MessageStatus,
}

#[derive(Debug, Default)]
struct Model {
    chats: BTreeMap<ChatId, (Vec<Node>, Option<MessageId>)>,
    order: Vec<ChatId>,
}

impl Model {
    fn pick(&self, number: usize) -> Option<ChatId> {
        (!self.order.is_empty()).then(|| self.order[number % self.order.len()])
    }

    fn node(&mut self, number: usize) -> Option<&mut Node> {
        let count: usize = self.chats.values().map(|(nodes, _)| nodes.len()).sum();
        let nodes = self.chats.values_mut().flat_map(|(nodes, _)| nodes);
        if count == 0 {
            None
        } else {
            nodes.into_iter().nth(number % count)
        }
    }
}

fn compare(store: &Store, model: &Model) {
    let listed: Vec<ChatId> = store
        .chats(&ChatQuery::default())
        .unwrap()
        .into_iter()
        .map(|line| line.chat.id)
        .collect();
    assert_eq!(listed.len(), model.order.len());
    for (chat, (nodes, head)) in &model.chats {
        assert_eq!(store.chat(*chat).unwrap().head, *head);
        for node in nodes {
            let message = store.message(node.id).unwrap();
            assert_eq!(
                (&message.text, message.status, message.parent),
                (&node.text, node.status, node.parent)
            );
            let same_parent: Vec<MessageId> = nodes
                .iter()
                .filter(|other| other.parent == node.parent)
                .map(|other| other.id)
                .collect();
            let siblings: Vec<MessageId> = store
                .siblings(node.id)
                .unwrap()
                .iter()
                .map(|message| message.id)
                .collect();
            assert_eq!(siblings, same_parent);
            let mut path = vec![node.id];
            let mut above = node.parent;
            while let Some(id) = above {
                path.push(id);
                above = nodes.iter().find(|other| other.id == id).unwrap().parent;
            }
            path.reverse();
            let branch: Vec<MessageId> = store
                .branch(*chat, Some(node.id))
                .unwrap()
                .iter()
                .map(|message| message.id)
                .collect();
            assert_eq!(branch, path);
        }
    }
    let all: Vec<&Node> = model.chats.values().flat_map(|(nodes, _)| nodes).collect();
    assert_eq!(store.statistics().unwrap().messages, all.len() as u64);
    let ended = all
        .iter()
        .filter(|node| node.status != MessageStatus::Streaming && !node.text.is_empty())
        .count();
    let query = SearchQuery {
        text: "text".into(),
        limit: 1000,
        chat: None,
    };
    assert_eq!(store.search(&query).unwrap().len(), ended);
}

fn run(ops: Vec<Op>) {
    let profile = Profile::new();
    let mut store = profile.create();
    let mut model = Model::default();
    for (step, op) in ops.into_iter().enumerate() {
        let now_ms = step as i64;
        match op {
            Op::CreateChat => {
                let new = NewChat {
                    title: format!("chat {step}"),
                    created_at_ms: now_ms,
                    metadata: Value::Null,
                };
                let id = store.create_chat(new).unwrap().id;
                model.order.push(id);
                model.chats.insert(id, (Vec::new(), None));
            }
            Op::DeleteChat(number) => {
                let Some(id) = model.pick(number) else { continue };
                store.delete_chat(id).unwrap();
                model.order.retain(|other| *other != id);
                model.chats.remove(&id);
            }
            Op::Append {
                chat,
                parent,
                streaming,
            } => {
                let Some(id) = model.pick(chat) else { continue };
                let (nodes, head) = model.chats.get_mut(&id).unwrap();
                let parent = parent
                    .filter(|_| !nodes.is_empty())
                    .map(|number| nodes[number % nodes.len()].id);
                let status = if streaming {
                    MessageStatus::Streaming
                } else {
                    MessageStatus::Complete
                };
                let text = if streaming {
                    String::new()
                } else {
                    format!("text {step}")
                };
                let mut new = new_message(id, parent, Role::User, &text);
                new.status = status;
                new.created_at_ms = now_ms;
                let message = store.append_message(new).unwrap();
                nodes.push(Node {
                    id: message.id,
                    parent,
                    text,
                    status,
                });
                *head = Some(message.id);
            }
            Op::Update(number) => {
                let Some(node) = model.node(number) else { continue };
                let text = format!("text so far {step}");
                let result = store.update_streaming(node.id, &text, "", now_ms);
                assert_eq!(result.is_ok(), node.status == MessageStatus::Streaming);
                if result.is_ok() {
                    node.text = text;
                }
            }
            Op::Finish(number) => {
                let Some(node) = model.node(number) else { continue };
                let finished = FinishedMessage {
                    text: format!("text in full {step}"),
                    reasoning: String::new(),
                    status: MessageStatus::Complete,
                    metadata: Value::Null,
                    finished_at_ms: now_ms,
                };
                let result = store.finish_message(node.id, finished.clone());
                assert_eq!(result.is_ok(), node.status == MessageStatus::Streaming);
                if result.is_ok() {
                    node.text = finished.text;
                    node.status = MessageStatus::Complete;
                }
            }
            Op::SetHead { chat, message } => {
                let Some(id) = model.pick(chat) else { continue };
                let (nodes, head) = model.chats.get_mut(&id).unwrap();
                if nodes.is_empty() {
                    continue;
                }
                let message = nodes[message % nodes.len()].id;
                store.set_head(id, message).unwrap();
                *head = Some(message);
            }
            Op::Reopen => {
                drop(store);
                store = profile.open();
                for (nodes, _) in model.chats.values_mut() {
                    for node in nodes
                        .iter_mut()
                        .filter(|node| node.status == MessageStatus::Streaming)
                    {
                        node.status = MessageStatus::Interrupted;
                    }
                }
            }
            Op::ExportAndImport => {
                let mut first = Vec::new();
                drop(store);
                store = profile.open();
                for (nodes, _) in model.chats.values_mut() {
                    for node in nodes
                        .iter_mut()
                        .filter(|node| node.status == MessageStatus::Streaming)
                    {
                        node.status = MessageStatus::Interrupted;
                    }
                }
                store
                    .export_chats(&hearth_store::ChatSelection::default(), &mut first)
                    .unwrap();
                let again = store.import_chats(&mut first.as_slice(), now_ms).unwrap();
                assert_eq!((again.chats_added, again.messages_added), (0, 0));
                let other = Profile::new();
                let mut copy = other.create();
                copy.import_chats(&mut first.as_slice(), now_ms).unwrap();
                let mut second = Vec::new();
                copy.export_chats(&hearth_store::ChatSelection::default(), &mut second)
                    .unwrap();
                assert_eq!(
                    String::from_utf8(second).unwrap(),
                    String::from_utf8(first).unwrap()
                );
                compare(&copy, &model);
            }
        }
    }
    compare(&store, &model);
    let again = Profile::new();
    let backup = again.outside.path().join("backup");
    store.backup(&backup, "b").unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn chats_behave_like_their_model(ops in proptest::collection::vec(op(), 1..60)) {
        run(ops);
    }
}
