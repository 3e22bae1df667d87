//! Who may send users here to log in: the clients and roles of a configuration file, checked once.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use serde::Deserialize;
use url::Url;

use crate::secret;

/// The client that a login by `POST /login` counts as; no client of the file may be called so.
pub(crate) const PASSWORD_LOGIN: &str = "password-login";

/// The clients and roles that the operator chose. All of them are trusted: users are not asked for consent.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    clients: BTreeMap<String, Client>,
    roles: BTreeMap<String, BTreeSet<String>>,
}

impl Registry {
    /// Reads a file like this one:
    ///
    /// ```
    /// # let text = r#"
    /// [[clients]]
    /// id = "portal-web"
    /// name = "News portal"                                    # users see it when they log in
    /// redirect-uris = ["https://portal.example/callback"]     # compared letter by letter
    /// post-logout-redirect-uris = ["https://portal.example/"]
    ///
    /// [[clients]]
    /// id = "partner"
    /// name = "Partner"
    /// redirect-uris = ["https://partner.example/callback"]
    /// ## Confidential: sha256sum of a long random secret. Without it the client is public: PKCE alone protects it.
    /// secret-sha256 = "448ddb0eeb98d84771464267a6a44f79447c9dcb2bc5f02bb0d7937e3ae10d6a"
    ///
    /// [roles]
    /// editor = ["8d5e7a52-2f9b-4b0c-9a55-0d3d8d3f3f5e"]       # ids of users; an email can change its owner
    /// # "#;
    /// assert!(auth::Registry::parse(text).is_ok());
    /// ```
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let FileRegistry { clients: listed, roles } = toml::from_str(text)?;
        let mut clients = BTreeMap::new();
        for client in listed {
            let client = Client::try_from(client)?;
            if let Some(twin) = clients.insert(client.id.clone(), client) {
                return Err(RegistryError::Twice { id: twin.id });
            }
        }
        Ok(Self { clients, roles })
    }

    /// Reads the file at this path.
    pub fn read(path: &str) -> Result<Self, RegistryError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RegistryError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// One public client called `demo`, for trying things out on one machine.
    pub fn demo(redirect_uri: &str, post_logout_redirect_uri: &str) -> Result<Self, RegistryError> {
        let client = Client::try_from(FileClient {
            id: "demo".to_owned(),
            name: "Demo".to_owned(),
            redirect_uris: vec![redirect_uri.to_owned()],
            post_logout_redirect_uris: vec![post_logout_redirect_uri.to_owned()],
            secret_sha256: None,
        })?;
        Ok(Self { clients: [(client.id.clone(), client)].into(), roles: BTreeMap::new() })
    }

    pub(crate) fn client(&self, id: &str) -> Option<&Client> {
        self.clients.get(id)
    }

    /// The roles of a user, in order of their names.
    pub(crate) fn roles_of(&self, user_id: &str) -> Vec<String> {
        let has = |users: &BTreeSet<String>| users.contains(user_id);
        self.roles.iter().filter(|(_, users)| has(users)).map(|(role, _)| role.clone()).collect()
    }
}

/// An application that lets its users log in here.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    /// What users know it by.
    pub(crate) name: String,
    redirect_uris: Vec<RedirectUri>,
    post_logout_redirect_uris: Vec<RedirectUri>,
    kind: ClientKind,
}

/// Whether a client can keep a secret.
#[derive(Debug, Clone)]
enum ClientKind {
    /// A browser or a phone holds it: there is no secret that would be one.
    Public,
    /// A server holds it, with a secret of which we know the hash.
    Confidential { secret_sha256: String },
}

impl Client {
    /// The registered address that is exactly this text.
    pub(crate) fn redirect_uri(&self, text: &str) -> Option<&RedirectUri> {
        self.redirect_uris.iter().find(|uri| uri.text == text)
    }

    /// The same for where a browser goes after logging out.
    pub(crate) fn post_logout_redirect_uri(&self, text: &str) -> Option<&RedirectUri> {
        self.post_logout_redirect_uris.iter().find(|uri| uri.text == text)
    }

    pub(crate) fn is_public(&self) -> bool {
        match self.kind {
            ClientKind::Public => true,
            ClientKind::Confidential { .. } => false,
        }
    }

    /// Whether this is the secret of a confidential client; a public one has none that could be right.
    pub(crate) fn has_secret(&self, secret: &str) -> bool {
        match &self.kind {
            ClientKind::Public => false,
            ClientKind::Confidential { secret_sha256 } => {
                secret::same(&sha256_hexadecimal(secret), secret_sha256)
            }
        }
    }
}

fn sha256_hexadecimal(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a browser may be sent: https, http on the machine itself, or an application's own scheme (RFC 8252).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedirectUri {
    text: String,
    url: Url,
}

impl RedirectUri {
    fn parse(text: String) -> Option<Self> {
        let url: Url = text.parse().ok()?;
        let loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        let allowed = match url.scheme() {
            "https" => url.has_host(),
            "http" => loopback,
            // A name that its owner has registered, reversed: com.example.app:/callback.
            scheme => scheme.contains('.'),
        };
        let plain = url.fragment().is_none() && url.username().is_empty() && !text.contains(' ');
        (allowed && plain).then_some(Self { text, url })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The address with parameters added to those it has.
    pub(crate) fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mut url = self.url.clone();
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        url.into()
    }

    /// What a Content-Security-Policy calls this place: its origin, or its scheme if it has no origin.
    pub(crate) fn policy_source(&self) -> String {
        match self.url.scheme() {
            "https" | "http" => self.url.origin().ascii_serialization(),
            scheme => format!("{scheme}:"),
        }
    }
}

/// The shape of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRegistry {
    #[serde(default)]
    clients: Vec<FileClient>,
    #[serde(default)]
    roles: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileClient {
    id: String,
    name: String,
    redirect_uris: Vec<String>,
    #[serde(default)]
    post_logout_redirect_uris: Vec<String>,
    secret_sha256: Option<String>,
}

impl TryFrom<FileClient> for Client {
    type Error = RegistryError;

    fn try_from(file: FileClient) -> Result<Self, RegistryError> {
        let FileClient { id, name, redirect_uris, post_logout_redirect_uris, secret_sha256 } = file;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id == PASSWORD_LOGIN || !(1..=64).contains(&id.len()) || !id.bytes().all(plain) {
            return Err(RegistryError::Id { id });
        }
        if redirect_uris.is_empty() {
            return Err(RegistryError::NoRedirectUri { id });
        }
        let parse_all = |uris: Vec<String>| -> Result<Vec<RedirectUri>, RegistryError> {
            let parse = |uri: String| {
                let bad = || RegistryError::RedirectUri { id: id.clone(), uri: uri.clone() };
                RedirectUri::parse(uri.clone()).ok_or_else(bad)
            };
            uris.into_iter().map(parse).collect()
        };
        let redirect_uris = parse_all(redirect_uris)?;
        let post_logout_redirect_uris = parse_all(post_logout_redirect_uris)?;
        let kind = match secret_sha256.map(|hash| hash.to_ascii_lowercase()) {
            None => ClientKind::Public,
            Some(hash) if hash.len() == 64 && hash.bytes().all(|it| it.is_ascii_hexdigit()) => {
                ClientKind::Confidential { secret_sha256: hash }
            }
            Some(_) => return Err(RegistryError::Secret { id }),
        };
        Ok(Self { id, name, redirect_uris, post_logout_redirect_uris, kind })
    }
}

/// Why clients cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The path that was given.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML of this shape; the message says where.
    #[error("{0}")]
    Shape(#[from] toml::de::Error),
    /// Two clients have one id.
    #[error("two clients are called {id:?}")]
    Twice {
        /// Their id.
        id: String,
    },
    /// The id cannot be one.
    #[error("{id:?} is no id for a client: 1 to 64 of a-z, A-Z, 0-9, -_. and not {PASSWORD_LOGIN}")]
    Id {
        /// The id that was given.
        id: String,
    },
    /// The client could never be answered.
    #[error("client {id:?} needs at least one of redirect-uris")]
    NoRedirectUri {
        /// The client's id.
        id: String,
    },
    /// Browsers must not be sent there.
    #[error(
        "client {id:?} cannot have {uri:?}: give https://…, http://127.0.0.1… or com.example.app:/…, no fragment"
    )]
    RedirectUri {
        /// The client's id.
        id: String,
        /// The address that was given.
        uri: String,
    },
    /// The hash of the secret is not one.
    #[error("client {id:?}: secret-sha256 has 64 hexadecimal digits, as sha256sum prints them")]
    Secret {
        /// The client's id.
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: &str = r#"
        [[clients]]
        id = "web"
        name = "Web"
        redirect-uris = ["https://portal.example/callback?from=auth"]

        [[clients]]
        id = "server"
        name = "Server"
        redirect-uris = ["http://127.0.0.1:9/callback"]
        secret-sha256 = "1EC1C26B50D5D3C58D9583181AF8076655FE00756BF7285940BA3670F99FCBA0"

        [roles]
        editor = ["ann", "bob"]
        admin = ["ann"]
    "#;

    #[test]
    fn a_client_is_public_or_has_one_secret() {
        let registry = Registry::parse(CLIENTS).unwrap();
        let (web, server) = (registry.client("web").unwrap(), registry.client("server").unwrap());
        assert!(web.is_public() && !web.has_secret("") && !web.has_secret("s3cret"));
        assert!(!server.is_public() && server.has_secret("s3cret") && !server.has_secret("S3cret"));
        assert!(registry.client("Web").is_none());
    }

    #[test]
    fn roles_belong_to_ids() {
        let registry = Registry::parse(CLIENTS).unwrap();
        assert_eq!(registry.roles_of("ann"), ["admin", "editor"]);
        assert_eq!(registry.roles_of("bob"), ["editor"]);
        assert!(registry.roles_of("Ann").is_empty());
    }

    #[test]
    fn an_address_is_compared_letter_by_letter_and_keeps_its_query() {
        let registry = Registry::parse(CLIENTS).unwrap();
        let web = registry.client("web").unwrap();
        let uri = web.redirect_uri("https://portal.example/callback?from=auth").unwrap();
        assert_eq!(
            uri.with(&[("code", "a b"), ("state", "&=")]),
            "https://portal.example/callback?from=auth&code=a+b&state=%26%3D"
        );
        assert_eq!(uri.policy_source(), "https://portal.example");
        for other in [
            "https://portal.example/callback",
            "https://portal.example/callback?from=auth&x=1",
            "https://PORTAL.example/callback?from=auth",
            "https://portal.example:443/callback?from=auth",
        ] {
            assert!(web.redirect_uri(other).is_none(), "{other}");
            assert!(web.post_logout_redirect_uri(other).is_none(), "{other}");
        }
    }

    #[test]
    fn browsers_are_sent_only_where_it_is_safe() {
        for (uri, taken) in [
            ("https://portal.example/callback", true),
            ("http://127.0.0.1:8080/callback", true),
            ("http://[::1]/callback", true),
            ("http://localhost/callback", true),
            ("com.example.app:/callback", true),
            ("http://portal.example/callback", false),
            ("http://127.0.0.1.example/", false),
            ("https://portal.example/#x", false),
            ("https://user@portal.example/", false),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("/callback", false),
            ("", false),
        ] {
            assert_eq!(Registry::demo(uri, uri).is_ok(), taken, "{uri}");
        }
    }

    #[test]
    fn a_mistake_is_named() {
        for (taken_out, put_in, named) in [
            ("name = \"Web\"", "nam = \"Web\"", "unknown field `nam`"),
            ("id = \"server\"", "id = \"web\"", "two clients are called \"web\""),
            ("id = \"web\"", "id = \"password-login\"", "no id for a client"),
            ("id = \"web\"", "id = \"a b\"", "no id for a client"),
            ("\"http://127.0.0.1:9/callback\"", "", "client \"server\" needs at least one"),
            ("http://127.0.0.1:9/callback", "http://x.example/", "cannot have"),
            ("1EC1", "1EC", "64 hexadecimal digits"),
            ("1EC1", "1ECG", "64 hexadecimal digits"),
        ] {
            let error = Registry::parse(&CLIENTS.replacen(taken_out, put_in, 1)).unwrap_err();
            assert!(error.to_string().contains(named), "{named} is not in {error}");
        }
    }
}
