//! The way through the portal, in the order in which a reader goes it.

use crate::robot::promise::{Broken, Robot};
use crate::robot::{aggregate, bad_input, login, news, recommendation, users};

/// Ends at the first broken promise.
pub(crate) async fn travel(robot: &mut Robot) -> Result<(), Broken> {
    let user = users::register(robot).await?;
    let articles = news::publish(robot).await?;
    bad_input::refuse(robot, &user, &articles).await?;
    news::read(robot, &user, &articles).await?;
    recommendation::recommend(robot, &user, &articles).await?;
    aggregate::list_all(robot, &articles).await?;
    login::log_in(robot, &user).await?;
    users::leave(robot, &user).await
}
