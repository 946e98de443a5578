//! Import of ChatGPT's `conversations.json`.
//!
//! That file is a list of conversations. Each has a `mapping` from node ids to nodes `{message, parent, children}`:
//! a tree with an empty root, whose shown branch ends at `current_node`. A message has an `author.role`, a
//! `content` of some `content_type`, and times in seconds. The format is nowhere promised: whatever is missing or
//! unknown is left out and counted, and only what is no such file at all is an error.

use std::collections::HashSet;
use std::fmt;
use std::io::Read;

use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::export::{ChatRecord, MessageRecord};
use crate::id::{ChatId, MessageId};
use crate::import::{ImportReport, Importer, digest, parse};
use crate::messages::{MessageStatus, Role};
use crate::store::Store;

impl Store {
    /// Imports the `conversations.json` of a ChatGPT data export, every branch, in one transaction; twice is the
    /// same as once, and a later export adds what is new. What has no place here (pictures, audio, hidden and empty
    /// nodes) is counted in the report.
    ///
    /// # Errors
    /// [`StoreError::Import`] with the position when it is not such a file; nothing is imported then.
    pub fn import_chatgpt(&mut self, from: &mut dyn Read, now_ms: i64) -> Result<ImportReport, StoreError> {
        let transaction = self.transaction()?;
        let mut importer = Importer::new(&transaction, now_ms);
        parse(
            from,
            Conversations {
                importer: &mut importer,
            },
        )
        .map_err(|error| importer.explain(error))?;
        let report = importer.report;
        transaction.commit()?;
        Ok(report)
    }
}

struct Conversations<'a, 't> {
    importer: &'a mut Importer<'t>,
}

impl<'de> DeserializeSeed<'de> for Conversations<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Conversations<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChatGPT's conversations.json: a list of conversations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(conversation) = list.next_element::<Value>()? {
            let Value::Object(conversation) = conversation else {
                return Err(de::Error::custom("a conversation is an object"));
            };
            let Some(Value::Object(mapping)) = conversation.get("mapping") else {
                self.importer
                    .report
                    .skip("conversation without messages (no mapping)");
                continue;
            };
            let now_ms = self.importer.now_ms;
            let chat = Reader::new(&conversation, mapping, now_ms, &mut self.importer.report).read();
            if chat.messages.is_empty() {
                self.importer.report.skip("conversation without messages");
                continue;
            }
            self.importer.take(&chat)?;
        }
        Ok(())
    }
}

/// Turns one conversation into a chat.
struct Reader<'a> {
    conversation: &'a Map<String, Value>,
    mapping: &'a Map<String, Value>,
    id: ChatId,
    created_at_ms: i64,
    report: &'a mut ImportReport,
}

/// A node to visit: its id, the imported message above it, and reasoning that waits for its answer.
struct Step<'a> {
    node: &'a str,
    parent: Option<MessageId>,
    reasoning: String,
}

impl<'a> Reader<'a> {
    fn new(
        conversation: &'a Map<String, Value>,
        mapping: &'a Map<String, Value>,
        now_ms: i64,
        report: &'a mut ImportReport,
    ) -> Reader<'a> {
        let created_at_ms = milliseconds(conversation.get("create_time")).unwrap_or(now_ms);
        let name = text(conversation.get("conversation_id")).or(text(conversation.get("id")));
        let id = uuid(name.unwrap_or_default()).unwrap_or_else(|| {
            let first_node = mapping.keys().next().map_or("", String::as_str);
            let title = text(conversation.get("title")).unwrap_or_default();
            let [name, title, node] = [name.unwrap_or_default(), title, first_node].map(str::as_bytes);
            digest(&[b"chatgpt", name, title, node])
        });
        let id = ChatId::from_bytes(id);
        Reader {
            conversation,
            mapping,
            id,
            created_at_ms,
            report,
        }
    }

    fn read(mut self) -> ChatRecord {
        let mut messages: Vec<MessageRecord> = Vec::new();
        // Of every visited node, the message that stands for it: its own or the one above.
        let mut stands: Map<String, Value> = Map::new();
        let mut visited: HashSet<&str> = HashSet::new();
        let mut steps: Vec<Step<'a>> = self.roots();
        while let Some(step) = steps.pop() {
            if !visited.insert(step.node) {
                continue;
            }
            let Some(node) = self.mapping.get(step.node) else {
                self.report.skip("link to a message that is not in the file");
                continue;
            };
            let mut reasoning = step.reasoning;
            let mut parent = step.parent;
            if let Some(message) = node.get("message").filter(|message| message.is_object())
                && let Some(mut record) = self.message(step.node, message, &mut reasoning)
            {
                record.parent = parent;
                parent = Some(record.id);
                messages.push(record);
            }
            if let Some(id) = parent {
                stands.insert(step.node.to_owned(), Value::String(id.to_string()));
            }
            for child in children(node).into_iter().rev() {
                steps.push(Step {
                    node: child,
                    parent,
                    reasoning: reasoning.clone(),
                });
            }
        }
        let head = text(self.conversation.get("current_node"))
            .and_then(|node| stands.get(node))
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok())
            .or(messages.last().map(|message| message.id));
        ChatRecord {
            id: self.id,
            title: text(self.conversation.get("title"))
                .unwrap_or_default()
                .to_owned(),
            created_at_ms: Some(self.created_at_ms),
            updated_at_ms: milliseconds(self.conversation.get("update_time")).or(Some(self.created_at_ms)),
            head,
            memory: true,
            metadata: raw(&json!({ "source": "chatgpt" })),
            messages,
        }
    }

    /// Nodes without a parent in the file, to be visited in the file's order (a stack: the first one last).
    fn roots(&self) -> Vec<Step<'a>> {
        let mut roots: Vec<Step<'a>> = self
            .mapping
            .iter()
            .filter(|(_, node)| {
                text(node.get("parent")).is_none_or(|parent| !self.mapping.contains_key(parent))
            })
            .map(|(node, _)| Step {
                node,
                parent: None,
                reasoning: String::new(),
            })
            .collect();
        roots.reverse();
        roots
    }

    /// The message of a node, or `None` when it is left out; reasoning is kept for the answer that follows.
    fn message(&mut self, node: &str, message: &Value, reasoning: &mut String) -> Option<MessageRecord> {
        let role = match message.pointer("/author/role").and_then(Value::as_str) {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some("tool" | "function") => Role::Tool,
            _ => {
                self.report.skip("message of an unknown author");
                return None;
            }
        };
        let metadata = message.get("metadata");
        let flag = |name| metadata.and_then(|metadata| metadata.get(name)) == Some(&Value::Bool(true));
        if flag("is_visually_hidden_from_conversation") {
            self.report.skip("hidden message");
            return None;
        }
        let content = message.get("content").unwrap_or(&Value::Null);
        let text = match self.content(content) {
            Content::Text(text) => text,
            Content::Reasoning(text) => {
                if !reasoning.is_empty() {
                    reasoning.push_str("\n\n");
                }
                reasoning.push_str(&text);
                return None;
            }
        };
        if text.trim().is_empty() {
            self.report.skip("empty message");
            return None;
        }
        let created_at_ms = milliseconds(message.get("create_time")).unwrap_or(self.created_at_ms);
        let status = match message.get("status").and_then(Value::as_str) {
            Some("in_progress") => MessageStatus::Interrupted,
            _ => MessageStatus::Complete,
        };
        let name = message.pointer("/author/name").and_then(Value::as_str);
        let model = metadata
            .and_then(|metadata| metadata.get("model_slug"))
            .and_then(Value::as_str);
        Some(MessageRecord {
            id: self.message_id(node),
            parent: None,
            role,
            status,
            text,
            reasoning: if role == Role::Assistant {
                std::mem::take(reasoning)
            } else {
                String::new()
            },
            created_at_ms: Some(created_at_ms),
            updated_at_ms: milliseconds(message.get("update_time")).or(Some(created_at_ms)),
            model: model.map(str::to_owned),
            metadata: name.and_then(|name| raw(&json!({ "name": name }))),
        })
    }

    fn message_id(&self, node: &str) -> MessageId {
        let bytes = uuid(node).unwrap_or_else(|| digest(&[b"chatgpt", self.id.as_bytes(), node.as_bytes()]));
        MessageId::from_bytes(bytes)
    }

    fn content(&mut self, content: &Value) -> Content {
        let field = |name: &str| text(content.get(name)).unwrap_or_default();
        let kind = field("content_type");
        let words = match kind {
            "text" | "multimodal_text" => self.parts(content),
            "code" => {
                let language = Some(field("language")).filter(|language| *language != "unknown");
                fenced(language.unwrap_or_default(), field("text"))
            }
            "execution_output" => fenced("", field("text")),
            "tether_quote" => {
                let source = [field("title"), field("url")].join(" ");
                format!("{}\n\n{}", source.trim(), field("text"))
            }
            "tether_browsing_display" => field("result").to_owned(),
            "system_error" => format!("{} {}", field("name"), field("text")),
            "user_editable_context" => [field("user_profile"), field("user_instructions")].join("\n\n"),
            "model_editable_context" => field("model_set_context").to_owned(),
            "thoughts" => return Content::Reasoning(thoughts(content)),
            "reasoning_recap" => {
                self.report.skip("note on how long the model thought");
                String::new()
            }
            _ => {
                let found = [field("text"), field("result"), field("content")];
                let found = found
                    .into_iter()
                    .find(|text| !text.is_empty())
                    .unwrap_or_default()
                    .to_owned();
                if found.is_empty() {
                    self.report.skip(&format!("content of the unknown kind {kind:?}"));
                }
                found
            }
        };
        Content::Text(words)
    }

    fn parts(&mut self, content: &Value) -> String {
        let parts = content
            .get("parts")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let pieces: Vec<String> = parts.iter().map(|part| self.part(part)).collect();
        pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect::<Vec<_>>()
            .join("\n\n")
    }

    /// One part of a message; a placeholder for what is no text.
    fn part(&mut self, part: &Value) -> String {
        if let Value::String(words) = part {
            return words.clone();
        }
        let kind = text(part.get("content_type")).unwrap_or_default();
        if let Some(words) = text(part.get("text")) {
            return words.to_owned();
        }
        let (placeholder, reason) = if kind.contains("image") {
            (
                "[image not imported]",
                "image (a placeholder stands in its message)",
            )
        } else if kind.contains("audio") {
            (
                "[audio not imported]",
                "audio (a placeholder stands in its message)",
            )
        } else if kind.contains("video") {
            (
                "[video not imported]",
                "video (a placeholder stands in its message)",
            )
        } else {
            (
                "[attachment not imported]",
                "attachment (a placeholder stands in its message)",
            )
        };
        if part.is_null() {
            return String::new();
        }
        self.report.skip(reason);
        placeholder.to_owned()
    }
}

enum Content {
    Text(String),
    Reasoning(String),
}

fn thoughts(content: &Value) -> String {
    let thoughts = content
        .get("thoughts")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let words = thoughts
        .iter()
        .filter_map(|thought| text(thought.get("content")).or(text(thought.get("summary"))));
    words.collect::<Vec<_>>().join("\n\n")
}

fn fenced(language: &str, code: &str) -> String {
    if code.is_empty() {
        String::new()
    } else {
        format!("```{language}\n{code}\n```")
    }
}

fn children(node: &Value) -> Vec<&str> {
    let children = node
        .get("children")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    children.iter().filter_map(Value::as_str).collect()
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

/// Seconds since the epoch, with a fraction, as milliseconds.
fn milliseconds(value: Option<&Value>) -> Option<i64> {
    let seconds = value
        .and_then(Value::as_f64)
        .filter(|seconds| seconds.is_finite())?;
    Some((seconds * 1000.0).round() as i64)
}

/// The 128 bits of a UUID.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    if groups != [8, 4, 4, 4, 12] {
        return None;
    }
    let digits = text.replace('-', "").to_ascii_lowercase();
    digits.parse::<MessageId>().ok().map(|id| *id.as_bytes())
}

fn raw(value: &Value) -> Option<Box<RawValue>> {
    RawValue::from_string(value.to_string()).ok()
}
