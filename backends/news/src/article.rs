//! An article: what clients write, checked once, and what they read.

use std::str::FromStr;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

const TITLE_CHARACTERS_MAX: usize = 200;
const AUTHOR_CHARACTERS_MAX: usize = 50;
const TAG_CHARACTERS_MAX: usize = 50;
const TAGS_MAX: usize = 20;
/// Some forty printed pages.
const CONTENT_CHARACTERS_MAX: usize = 100_000;

/// One version of an article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Article {
    pub(crate) id: ArticleId,
    /// Counts from 1.
    pub(crate) version: Version,
    #[serde(flatten)]
    pub(crate) text: Text,
    /// When this version was added.
    pub(crate) created_at: Moment,
    /// Stays as it was unless a version brings another.
    pub(crate) published_at: Moment,
    /// The theme of the instance, for example famous.
    pub(crate) news_type: String,
}

/// What an author wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Text {
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) title: String,
    #[schema(min_length = 1, max_length = 100_000)]
    pub(crate) content: String,
    #[schema(min_length = 1, max_length = 50)]
    pub(crate) author: String,
    /// At most 20, of 1 to 50 characters each.
    pub(crate) tags: Vec<String>,
}

/// Counts the versions of one article, from 1.
pub(crate) type Version = u32;

/// Random, so that ids cannot be counted through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String, format = "uuid")]
pub(crate) struct ArticleId(Uuid);

impl ArticleId {
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }

    pub(crate) fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for ArticleId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl std::fmt::Display for ArticleId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl FromStr for ArticleId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A point in time to the microsecond, which is what the stores keep; RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "Timestamp")]
#[schema(value_type = String, format = DateTime)]
pub(crate) struct Moment(Timestamp);

impl Moment {
    pub(crate) fn now() -> Self {
        Timestamp::now().into()
    }

    pub(crate) fn as_microseconds(self) -> i64 {
        self.0.as_microsecond()
    }

    /// Fails for a time that is not in the years -9999 to 9999.
    pub(crate) fn from_microseconds(microseconds: i64) -> Result<Self, jiff::Error> {
        Timestamp::from_microsecond(microseconds).map(Self)
    }
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self(Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time))
    }
}

/// What a client sends. It may send back whole what it read, changed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// With `version`: the article to follow up. Without: a new one.
    id: Option<String>,
    /// The version that was read; if it is not the latest any more the answer is 409.
    version: Option<Version>,
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    #[schema(min_length = 1, max_length = 100_000)]
    content: String,
    #[schema(min_length = 1, max_length = 50)]
    author: String,
    /// At most 20, of 1 to 50 characters each.
    #[serde(default)]
    tags: Vec<String>,
    /// May be sent back as it was read; it is not used.
    #[serde(rename = "created_at")]
    #[schema(value_type = Option<String>)]
    _created_at: Option<IgnoredAny>,
    /// Without it: now for a new article, as it was for one that is followed up.
    published_at: Option<Moment>,
    /// If it is there it must be the theme of the instance.
    news_type: Option<String>,
}

/// What a client wants, checked.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) target: Target,
    pub(crate) text: Text,
    pub(crate) published_at: Option<Moment>,
}

/// What a version is added to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A new article.
    New,
    /// The article with this id, which the client saw in this version. The id is text: only the log knows
    /// whether there is such an article.
    After { id: String, version: Version },
}

impl Draft {
    /// Checks each field against its bound; `theme` is what this instance's articles are about.
    pub(crate) fn into_command(self, theme: &str) -> Result<Command, FieldError> {
        let Self {
            id,
            version,
            title,
            content,
            author,
            tags,
            _created_at: _,
            published_at,
            news_type,
        } = self;
        let target = match (id, version) {
            (None, None) => Target::New,
            (Some(id), Some(version)) => Target::After { id, version },
            (None, Some(_)) | (Some(_), None) => return Err(FieldError::HalfATarget),
        };
        if news_type.is_some_and(|given| given != theme) {
            return Err(FieldError::OtherTheme { theme: theme.to_owned() });
        }
        bounded(&title, TITLE_CHARACTERS_MAX, FieldError::Title)?;
        bounded(&author, AUTHOR_CHARACTERS_MAX, FieldError::Author)?;
        bounded(&content, CONTENT_CHARACTERS_MAX, FieldError::Content)?;
        if tags.len() > TAGS_MAX {
            return Err(FieldError::Tags);
        }
        for tag in &tags {
            bounded(tag, TAG_CHARACTERS_MAX, FieldError::Tag)?;
        }
        Ok(Command { target, text: Text { title, content, author, tags }, published_at })
    }
}

/// PostgreSQL cannot store NUL, and nobody writes it on purpose.
fn bounded(text: &str, characters_max: usize, error: FieldError) -> Result<(), FieldError> {
    if text.trim().is_empty() || text.chars().count() > characters_max || text.contains('\0') {
        return Err(error);
    }
    Ok(())
}

/// What is wrong with something a client sent. The text goes to the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("id and version go together: both for the next version, neither for a new article")]
    HalfATarget,
    #[error("PUT changes an article: id and version are missing")]
    NoTarget,
    #[error("news_type is {theme} here; leave it out")]
    OtherTheme { theme: String },
    #[error("title must have 1 to {TITLE_CHARACTERS_MAX} characters, none of them NUL")]
    Title,
    #[error("author must have 1 to {AUTHOR_CHARACTERS_MAX} characters, none of them NUL")]
    Author,
    #[error("content must have 1 to {CONTENT_CHARACTERS_MAX} characters, none of them NUL")]
    Content,
    #[error("at most {TAGS_MAX} tags")]
    Tags,
    #[error("a tag must have 1 to {TAG_CHARACTERS_MAX} characters, none of them NUL")]
    Tag,
    #[error("page must be a number from 1")]
    Page,
    #[error("limit must be 1 to {max}")]
    Limit { max: u32 },
}
