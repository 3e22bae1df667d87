//! Each server starts, answers, and keeps what it acknowledged through a kill.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use servers::{PostgreSql, RabbitMq, Redis};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn postgresql_keeps_what_was_committed() {
    let mut server = PostgreSql::start().await.unwrap();
    let url = server.url();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection
        .execute("CREATE TABLE kept (number INT); INSERT INTO kept VALUES (7)")
        .await
        .unwrap();
    server.kill_9().await;
    assert!(PgConnection::connect(&url).await.is_err(), "it is dead");
    server.start_again().await.unwrap();
    assert_eq!(server.url(), url);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let number: i32 =
        sqlx::query_scalar("SELECT number FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(number, 7);
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let show = format!("SHOW {setting}");
        let value: String = sqlx::query_scalar(&show).fetch_one(&mut connection).await.unwrap();
        assert_eq!(value, "on", "{setting}: a kill that proves nothing is no test");
    }
}

#[tokio::test]
async fn redis_keeps_what_was_answered() {
    let mut server = Redis::start().await.unwrap();
    let url = server.url();
    assert_eq!(ask_redis(&url, "SET kept 7").await.unwrap(), "+OK\r\n");
    server.kill_9().await;
    assert!(ask_redis(&url, "PING").await.is_err(), "it is dead");
    server.start_again().await.unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(ask_redis(&url, "GET kept").await.unwrap(), "$1\r\n7\r\n");
    let synced = ask_redis(&url, "CONFIG GET appendfsync").await.unwrap();
    assert!(synced.contains("always"), "{synced}");
}

async fn ask_redis(url: &str, question: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(url.strip_prefix("redis://").unwrap()).await?;
    stream.write_all(format!("{question}\r\n").as_bytes()).await?;
    let mut answer = vec![0; 1000];
    let length = stream.read(&mut answer).await?;
    answer.truncate(length);
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn rabbitmq_keeps_what_was_confirmed() {
    let mut server = RabbitMq::start().await.unwrap();
    let url = server.url();
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("kept".into(), durable, FieldTable::default()).await.unwrap();
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let published = channel.basic_publish(
        "".into(),
        "kept".into(),
        BasicPublishOptions::default(),
        b"7",
        persistent,
    );
    let confirmation = published.await.unwrap().await.unwrap();
    assert!(matches!(confirmation, Confirmation::Ack(_)), "{confirmation:?}");

    server.kill_9().await;
    let dead = Connection::connect(&url, ConnectionProperties::default()).await;
    assert!(dead.is_err(), "it is dead");
    server.start_again().await.unwrap();
    assert_eq!(server.url(), url);
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = BasicConsumeOptions::default();
    let consuming =
        channel.basic_consume("kept".into(), "test".into(), options, FieldTable::default());
    let delivery = consuming.await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(delivery.data, b"7");
    delivery.ack(BasicAckOptions::default()).await.unwrap();
}
