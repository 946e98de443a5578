//! A document as plain fields: what records are read from and compared by.

use std::collections::BTreeMap;

use automerge::transaction::Transactable;
use automerge::{ObjType, ROOT, ReadDoc, ScalarValue, Value};

use super::{DocumentError, LocalId, malformed};

/// The root field that names what a document is of.
pub(super) const ID: &str = "i";
/// The root field with the time of the last change: of two that were written at once, the later one holds.
pub(super) const UPDATED: &str = "m";

/// Most fields that a document is read to have.
const MAX_FIELDS: usize = 1 << 20;

/// A field: a plain value, or a map of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Scalar(ScalarValue),
    Map(BTreeMap<String, ScalarValue>),
}

/// The fields of a document.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tree(BTreeMap<String, Node>);

impl Tree {
    pub(super) fn get(&self, name: &str) -> Option<&ScalarValue> {
        match self.0.get(name)? {
            Node::Scalar(value) => Some(value),
            Node::Map(_) => None,
        }
    }

    pub(super) fn put(&mut self, name: impl Into<String>, value: ScalarValue) {
        self.0.insert(name.into(), Node::Scalar(value));
    }

    pub(super) fn put_map(&mut self, name: String, fields: Fields) {
        self.0.insert(name, Node::Map(fields.0));
    }

    /// The plain fields whose name begins with `prefix`, under the rest of the name.
    pub(super) fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a ScalarValue)> {
        self.named(prefix).filter_map(|(name, node)| match node {
            Node::Scalar(value) => Some((name, value)),
            Node::Map(_) => None,
        })
    }

    /// The maps whose name begins with `prefix`, under the rest of the name.
    pub(super) fn maps<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Fields)> {
        self.named(prefix).filter_map(|(name, node)| match node {
            Node::Map(fields) => Some((name, Fields(fields.clone()))),
            Node::Scalar(_) => None,
        })
    }

    fn named<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        self.0
            .range(prefix.to_owned()..)
            .map_while(move |(name, node)| Some((name.strip_prefix(prefix)?, node)))
    }

    /// # Errors
    /// [`DocumentError::Malformed`] when it isn't there.
    pub(super) fn id(&self) -> Result<LocalId, DocumentError> {
        self.get(ID)
            .and_then(bytes16)
            .ok_or_else(|| malformed("it has no id"))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(text)
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(int)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            ScalarValue::Boolean(value) => Some(*value),
            _ => None,
        }
    }
}

/// The fields of a map inside a document.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields(BTreeMap<String, ScalarValue>);

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&ScalarValue> {
        self.0.get(name)
    }

    pub(super) fn put(&mut self, name: &str, value: ScalarValue) {
        self.0.insert(name.to_owned(), value);
    }
}

pub(super) fn text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Str(text) => Some(text.as_str()),
        _ => None,
    }
}

pub(super) fn int(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int(value) | ScalarValue::Timestamp(value) => Some(*value),
        ScalarValue::Uint(value) => i64::try_from(*value).ok(),
        _ => None,
    }
}

pub(super) fn bytes(value: &ScalarValue) -> Option<&[u8]> {
    match value {
        ScalarValue::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

pub(super) fn bytes16(value: &ScalarValue) -> Option<LocalId> {
    bytes(value)?.try_into().ok()
}

pub(super) fn id_value(id: &LocalId) -> ScalarValue {
    ScalarValue::Bytes(id.to_vec())
}

pub(super) fn text_value(text: &str) -> ScalarValue {
    ScalarValue::Str(text.into())
}

/// The fields of a document, maps one level deep; lists and texts are passed over, and stay.
pub(super) fn read(document: &impl ReadDoc) -> Result<Tree, DocumentError> {
    let mut tree = Tree::default();
    let mut left = MAX_FIELDS;
    let mut count = || match left.checked_sub(1) {
        Some(fewer) => {
            left = fewer;
            Ok(())
        }
        None => Err(DocumentError::TooLarge("the number of fields")),
    };
    for item in document.map_range(&ROOT, ..) {
        count()?;
        let name = item.key.to_string();
        match Value::from(item.value) {
            Value::Scalar(value) => {
                let value = value.into_owned();
                let value = if name == UPDATED {
                    latest(document, value)
                } else {
                    value
                };
                tree.0.insert(name, Node::Scalar(value));
            }
            Value::Object(ObjType::Map) => {
                let Some((_, object)) = document.get(&ROOT, &name).map_err(malformed)? else {
                    continue;
                };
                let mut fields = BTreeMap::new();
                for item in document.map_range(&object, ..) {
                    count()?;
                    let name = item.key.to_string();
                    if let Value::Scalar(value) = Value::from(item.value) {
                        fields.insert(name, value.into_owned());
                    }
                }
                tree.0.insert(name, Node::Map(fields));
            }
            Value::Object(_) => {}
        }
    }
    Ok(tree)
}

/// The greatest of the values that were written at once.
fn latest(document: &impl ReadDoc, winner: ScalarValue) -> ScalarValue {
    let all = document.get_all(&ROOT, UPDATED).unwrap_or_default();
    let times = all.iter().filter_map(|(value, _)| match value {
        Value::Scalar(value) => int(value),
        Value::Object(_) => None,
    });
    times.max().map_or(winner, ScalarValue::Int)
}

/// Makes what is `present` into what is `wanted`, field by field.
pub(super) fn write(
    document: &mut impl Transactable,
    present: &Tree,
    wanted: &Tree,
) -> Result<(), DocumentError> {
    for (name, node) in &wanted.0 {
        let there = present.0.get(name);
        if there == Some(node) {
            continue;
        }
        match node {
            Node::Scalar(value) => document.put(&ROOT, name, value.clone()).map_err(malformed)?,
            Node::Map(fields) => {
                let none = BTreeMap::new();
                let object = document.get(&ROOT, name).map_err(malformed)?;
                let (object, there) = if let Some(Node::Map(there)) = there
                    && let Some((Value::Object(ObjType::Map), object)) = object
                {
                    (object, there)
                } else {
                    (
                        document
                            .put_object(&ROOT, name, ObjType::Map)
                            .map_err(malformed)?,
                        &none,
                    )
                };
                for (name, value) in fields {
                    if there.get(name) != Some(value) {
                        document.put(&object, name, value.clone()).map_err(malformed)?;
                    }
                }
                for name in there.keys().filter(|name| !fields.contains_key(*name)) {
                    document.delete(&object, name).map_err(malformed)?;
                }
            }
        }
    }
    for name in present.0.keys().filter(|name| !wanted.0.contains_key(*name)) {
        document.delete(&ROOT, name).map_err(malformed)?;
    }
    Ok(())
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An id in a field's name: base64url without padding (RFC 4648), 22 characters.
pub(super) fn id_name(prefix: &str, id: &LocalId) -> String {
    let mut name = String::with_capacity(prefix.len() + 22);
    name.push_str(prefix);
    for group in id.chunks(3) {
        let mut bits = 0u32;
        for place in 0..3 {
            bits = bits << 8 | u32::from(group.get(place).copied().unwrap_or_default());
        }
        for place in 0..=group.len() {
            name.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    name
}

/// The id that [`id_name`] wrote, without its prefix; only that spelling of it.
pub(super) fn id_of(name: &str) -> Option<LocalId> {
    if name.len() != 22 {
        return None;
    }
    let mut bits = 0u128;
    for (place, digit) in name.bytes().enumerate() {
        let value = DIGITS.iter().position(|known| *known == digit)? as u128;
        bits = if place < 21 {
            bits << 6 | value
        } else {
            bits << 2 | value >> 4
        };
    }
    let id = bits.to_be_bytes();
    (id_name("", &id) == name).then_some(id)
}
