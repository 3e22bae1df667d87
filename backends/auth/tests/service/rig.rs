//! A service of its own for each test, with a users service, a clock to move, and a client that plays the gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use auth::{Clock, Database, LoginLimit, Registry, Running, Settings};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use servers::PostgreSql;
use sqlx::Connection;
use tempfile::TempDir;

use crate::document::Document;
use crate::users_stub::{PASSWORD, UsersStub};

/// Where clients believe the service to be.
pub(crate) const ISSUER: &str = "https://portal.test/auth/v1";
/// Of the confidential client `server`.
pub(crate) const CLIENT_SECRET: &str = "s3cret";
pub(crate) const CLIENTS: &str = r#"
    [[clients]]
    id = "web"
    name = "News portal"
    redirect-uris = ["https://portal.test/callback", "https://portal.test/other"]
    post-logout-redirect-uris = ["https://portal.test/bye"]

    [[clients]]
    id = "server"
    name = "Server"
    redirect-uris = ["https://server.test/callback"]
    secret-sha256 = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0"

    [roles]
    editor = ["8d5e7a52-2f9b-4b0c-9a55-0d3d8d3f3f5e"]
"#;
const DEADLINE: Duration = Duration::from_secs(20);

/// A running service and what it needs.
pub(crate) struct Rig {
    /// SQLite's file is here.
    folder: TempDir,
    settings: Settings,
    running: Running,
    pub(crate) users: UsersStub,
    now: Arc<AtomicI64>,
    document: Document,
}

impl Rig {
    pub(crate) async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(folder.path().join("auth.sqlite"));
        Self::start(folder, database).await
    }

    async fn start(folder: TempDir, database: Database) -> Self {
        let users = UsersStub::start().await;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = Arc::new(AtomicI64::new(since_1970.as_secs().try_into().unwrap()));
        let settings = Settings {
            clients: Some(Registry::parse(CLIENTS).unwrap()),
            housekeeping_every: Duration::from_millis(20),
            login_limit: LoginLimit { attempts: 5, one_more_every: Duration::from_secs(60) },
            clock: Clock::Held(Arc::clone(&now)),
            ..Settings::new(
                "127.0.0.1:0".parse().unwrap(),
                database,
                ISSUER.parse().unwrap(),
                format!("http://{}", users.address).parse().unwrap(),
            )
        };
        let running = auth::start(settings.clone()).await.unwrap();
        let request = Request::get("/openapi.json").body(Full::default()).unwrap();
        let document = Document(send(running.address(), request).await.json());
        Self { folder, settings, running, users, now, document }
    }

    pub(crate) async fn restart(self) -> Self {
        let Self { folder, settings, running, users, now, document } = self;
        running.stop().await.unwrap();
        let running = auth::start(settings.clone()).await.unwrap();
        Self { folder, settings, running, users, now, document }
    }

    /// A second instance on the same database.
    pub(crate) async fn twin(&self) -> Running {
        auth::start(self.settings.clone()).await.unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Lets time go by.
    pub(crate) fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: Value) -> Answer {
        self.send(json_request(path, &body)).await
    }

    pub(crate) async fn post_form(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        self.send(form_request(path, pairs)).await
    }

    /// Asks, and holds the answer to the document.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let asked = format!("{} {}", request.method(), request.uri().path());
        let answer = send(self.address(), request).await;
        self.document.check(&asked, answer.status, &answer.headers, &answer.text);
        answer
    }

    /// Logs Ann in by password.
    pub(crate) async fn log_in(&self) -> Value {
        let answer = self.try_password(PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    pub(crate) async fn try_password(&self, password: &str) -> Answer {
        let body = json!({ "email": "ann@example.org", "password": password });
        self.post_json("/login", body).await
    }

    pub(crate) async fn refresh(&self, token: &Value) -> Answer {
        self.post_json("/refresh", json!({ "refresh_token": token })).await
    }

    pub(crate) async fn userinfo(&self, token: &str) -> Answer {
        let request = Request::get("/userinfo").header("authorization", format!("Bearer {token}"));
        self.send(request.body(Full::default()).unwrap()).await
    }

    /// What a token says, checked with the published keys as the gateway does it.
    pub(crate) async fn verify(&self, token: &str, audience: &str) -> Value {
        let jwks: JwkSet = serde_json::from_value(self.get("/jwks").await.json()).unwrap();
        let id = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(jwks.find(&id).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[audience]);
        validation.validate_exp = false;
        jsonwebtoken::decode(token, &key, &validation).unwrap().claims
    }

    /// Asks for the published keys until there are so many.
    pub(crate) async fn wait_for_keys(&self, count: usize) -> Vec<String> {
        let until = tokio::time::Instant::now() + DEADLINE;
        loop {
            let jwks = self.get("/jwks").await.json();
            let keys = jwks["keys"].as_array().unwrap().clone();
            if keys.len() == count {
                return keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
            }
            assert!(tokio::time::Instant::now() < until, "not {count} keys but {}", keys.len());
        }
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let mut connection = self.connect().await;
        let query = format!("SELECT count(*) FROM {table}");
        let count = sqlx::query_scalar(&query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }

    /// The private half of the only signing key.
    pub(crate) async fn private_key(&self) -> Vec<u8> {
        let mut connection = self.connect().await;
        let query = "SELECT private_key FROM signing_keys";
        let key = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        key
    }

    /// Does something to the database behind the service's back.
    pub(crate) async fn execute(&self, query: &str) {
        let mut connection = self.connect().await;
        sqlx::query("PRAGMA busy_timeout = 20000").execute(&mut connection).await.ok();
        sqlx::query(query).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn connect(&self) -> sqlx::AnyConnection {
        sqlx::any::install_default_drivers();
        let url = match &self.settings.database {
            Database::Sqlite(file) => format!("sqlite:{}", file.display()),
            Database::Postgres(url) => url.to_string(),
        };
        sqlx::AnyConnection::connect(&url).await.unwrap()
    }
}

/// One PostgreSQL server with a database for each rig.
pub(crate) struct PostgresServer {
    pub(crate) server: PostgreSql,
    made: AtomicU32,
}

impl PostgresServer {
    pub(crate) async fn start() -> Self {
        Self { server: PostgreSql::start().await.unwrap(), made: AtomicU32::new(0) }
    }

    pub(crate) async fn rig(&self) -> Rig {
        let name = format!("auth_{}", self.made.fetch_add(1, Ordering::Relaxed));
        let mut connection = sqlx::PgConnection::connect(&self.server.url()).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(&create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let mut url: url::Url = self.server.url().parse().unwrap();
        url.set_path(&name);
        Rig::start(tempfile::tempdir().unwrap(), Database::Postgres(url)).await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// Parameters of the address that the browser is sent to.
    pub(crate) fn answered(&self, address: &str) -> Parameters {
        assert_eq!(self.status, 303, "{}", self.text);
        let location: url::Url = self.header("location").parse().unwrap();
        assert_eq!(location.as_str().split('?').next(), Some(address));
        Parameters(location.query_pairs().into_owned().collect())
    }
}

/// What stood in an address.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) fn json_request(path: &str, body: &Value) -> Request<Full<Bytes>> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    request.body(Full::from(body.to_string())).unwrap()
}

pub(crate) fn form_request(path: &str, pairs: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let request =
        Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Full::from(form(pairs))).unwrap()
}

pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    try_send(address, request).await.unwrap()
}

/// The same of a service that may be killed meanwhile; nothing if it breaks off.
pub(crate) async fn try_send(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Option<Answer> {
    request.headers_mut().insert(header::HOST, "portal.test".parse().unwrap());
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.ok()?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.ok()?.into_parts();
    let bytes = body.collect().await.ok()?.to_bytes();
    connection.abort();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Some(Answer { status: head.status, headers: head.headers, text })
}

/// A token's header and claims, unchecked.
pub(crate) fn unchecked(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap_or_default()
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

/// A token with other parts.
pub(crate) fn assembled(header: &Value, claims: &Value, signature: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", encode(header), encode(claims))
}

/// Every byte the service has written to its folder.
pub(crate) fn bytes_on_disk(folder: &Path) -> Vec<u8> {
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
}
