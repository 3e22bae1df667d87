//! The event "user U viewed news N": what publishers send, checked once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Ids are opaque here; this holds any that the portal makes.
pub(crate) const ID_CHARACTERS_MAX: usize = 128;
pub(crate) const LABEL_CHARACTERS_MAX: usize = 50;
const LABELS_MAX: usize = 20;
/// Holds the longest legal event at four bytes a character, and its escapes in passing.
pub(crate) const EVENT_BYTES_MAX: usize = 32 * 1024;

/// The event as it is sent. Keys that are not known here are for other readers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Message {
    /// Names this event among all; the same one again is counted once.
    #[schema(max_length = 128, example = "3f0c9d8e-6a57-4a58-9d0e-6f9b3c1f0a11")]
    id: String,
    /// Who viewed, as users knows them.
    #[schema(max_length = 128)]
    user_id: String,
    news: MessageNews,
}

/// What was viewed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct MessageNews {
    #[schema(max_length = 128)]
    id: String,
    #[schema(max_length = 128, example = "famous")]
    news_type: String,
    /// The labels to count; at most 20, of 1 to 50 characters each.
    #[serde(default)]
    tags: Vec<String>,
}

/// An event that can be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Viewed {
    pub(crate) id: String,
    pub(crate) user_id: String,
    /// Each once, in order, so that two transactions never wait for each other.
    pub(crate) labels: BTreeSet<String>,
}

impl TryFrom<Message> for Viewed {
    type Error = FieldError;

    fn try_from(message: Message) -> Result<Self, FieldError> {
        let Message { id, user_id, news: MessageNews { id: news_id, news_type, tags } } = message;
        bounded(&id, ID_CHARACTERS_MAX, "id")?;
        bounded(&user_id, ID_CHARACTERS_MAX, "user_id")?;
        bounded(&news_id, ID_CHARACTERS_MAX, "news.id")?;
        bounded(&news_type, ID_CHARACTERS_MAX, "news.news_type")?;
        if tags.len() > LABELS_MAX {
            return Err(FieldError::Labels);
        }
        for tag in &tags {
            bounded(tag, LABEL_CHARACTERS_MAX, "a tag")?;
        }
        Ok(Self { id, user_id, labels: tags.into_iter().collect() })
    }
}

/// Checks the length of a text, and that it holds no NUL, which PostgreSQL cannot store.
pub(crate) fn bounded(
    text: &str,
    characters_max: usize,
    name: &'static str,
) -> Result<(), FieldError> {
    let fits = !text.trim().is_empty() && text.chars().count() <= characters_max;
    if fits && !text.contains('\0') {
        Ok(())
    } else {
        Err(FieldError::Text { name, characters_max })
    }
}

/// What is wrong with something a client or a publisher sent. The text goes to it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("{name} must have 1 to {characters_max} characters, none of them NUL")]
    Text { name: &'static str, characters_max: usize },
    #[error("news.tags has at most {LABELS_MAX} tags")]
    Labels,
    #[error("count must be 1 to {max}")]
    Count { max: u32 },
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(event: Value) -> Result<Viewed, FieldError> {
        serde_json::from_value::<Message>(event).unwrap().try_into()
    }

    fn event() -> Value {
        json!({ "id": "e", "user_id": "u", "news": { "id": "n", "news_type": "famous", "tags": ["b", "a", "b"] } })
    }

    #[test]
    fn a_label_counts_once_an_event() {
        let viewed = read(event()).unwrap();
        assert_eq!(viewed.labels.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn unknown_keys_are_for_other_readers() {
        let mut event = event();
        event["at"] = json!("2026-01-01");
        assert!(read(event).is_ok());
    }

    #[test]
    fn each_field_has_its_bound() {
        for (path, value) in [
            ("/id", json!("")),
            ("/id", json!("x".repeat(129))),
            ("/user_id", json!("a\0b")),
            ("/news/id", json!(" ")),
            ("/news/news_type", json!("")),
            ("/news/tags", json!(["x".repeat(51)])),
            ("/news/tags", json!([""])),
            ("/news/tags", json!(vec!["x"; 21])),
        ] {
            let mut event = event();
            *event.pointer_mut(path).unwrap() = value.clone();
            assert!(read(event).is_err(), "{path} {value}");
        }
    }
}
