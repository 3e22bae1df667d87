//! Everything again, on a real PostgreSQL: one server, a database for each scenario.

use crate::rig::PostgresServer;
use crate::{
    independent_client, keeping, keys, logout, operation, password_login, provider, token,
};

#[tokio::test]
async fn what_holds_on_sqlite_holds_on_postgresql() {
    let server = PostgresServer::start().await;
    password_login::run_all_on(&server).await;
    provider::run_all_on(&server).await;
    token::run_all_on(&server).await;
    logout::run_all_on(&server).await;
    keys::run_all_on(&server).await;
    keeping::run_all_on(&server).await;
    operation::run_all_on(&server).await;
    independent_client::run_all_on(&server).await;
}

#[tokio::test]
async fn a_login_that_was_answered_outlives_the_database() {
    let mut server = PostgresServer::start().await;
    let rig = server.rig().await;
    let tokens = rig.log_in().await;
    server.server.kill_9().await;
    assert_eq!(rig.get("/health").await.status, 503);
    assert_eq!(rig.get("/jwks").await.status, 200, "checking tokens needs no database");
    assert_eq!(rig.refresh(&tokens["refresh_token"]).await.status, 503);
    server.server.start_again().await.unwrap();
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while rig.get("/health").await.status != 200 {
        assert!(tokio::time::Instant::now() < until, "the database is back, the service is not");
    }
    assert_eq!(rig.refresh(&tokens["refresh_token"]).await.status, 200);
    assert_eq!(rig.refresh(&tokens["refresh_token"]).await.status, 401);
}
