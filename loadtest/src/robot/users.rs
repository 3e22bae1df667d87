//! A reader registers, is found, changes the name, and in the end leaves.

use serde_json::{Value, json};

use crate::robot::promise::{Broken, Expected, Robot, text};
use crate::robot::question::Question;

/// Who the robot is at the portal.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) password: String,
}

/// What is read right after it was written has to be what was written.
pub(crate) async fn register(robot: &mut Robot) -> Result<User, Broken> {
    let run = robot.run.clone();
    let mut user = User {
        id: String::new(),
        name: format!("Robot {run}"),
        email: format!("robot-{run}@example.org"),
        password: format!("correct {run} horse"),
    };
    let create = robot.at_gateway("POST", "/users/v1/user").json(&draft(&user));
    let answer = robot.expect("a user is created", &create, is_user(201, &user)).await?;
    text(&answer, "/id").clone_into(&mut user.id);

    let read = question(robot, "GET", &user);
    robot.expect("a user is there at once", &read, is_user(200, &user)).await?;
    let refused = Expected::error(409);
    robot.expect("an e-mail that is taken is refused", &create, refused).await?;

    user.name = format!("Robot {run} the Second");
    let change = json!({ "name": user.name, "email": user.email });
    let change = question(robot, "PUT", &user).json(&change);
    robot.expect("a user is changed", &change, is_user(200, &user)).await?;
    robot.expect("a change is seen at once", &read, is_user(200, &user)).await?;

    let list = robot.at_gateway("GET", "/users/v1/users?start=0&count=10");
    let listed = Expected::with(200, "1 to 10 users without passwords", |body| {
        let users = body.as_array().map_or(&[][..], Vec::as_slice);
        (1..=10).contains(&users.len()) && users.iter().all(is_public)
    });
    robot.expect("users are listed", &list, listed).await?;

    let verify = json!({ "email": user.email, "password": user.password });
    let verify = robot.at_gateway("POST", "/users/v1/user/verify").json(&verify);
    robot.expect("passwords are checked for auth alone", &verify, Expected::status(404)).await?;
    Ok(user)
}

/// A user who was deleted is gone at once, and cannot log in.
pub(crate) async fn leave(robot: &mut Robot, user: &User) -> Result<(), Broken> {
    let delete = question(robot, "DELETE", user);
    robot.expect("a user is deleted", &delete, Expected::status(204)).await?;
    let read = question(robot, "GET", user);
    let gone = Expected::error(404);
    robot.expect("a deleted user is gone at once", &read, gone).await?;
    let login = json!({ "email": user.email, "password": user.password });
    let login = robot.at_gateway("POST", "/auth/v1/login").json(&login);
    let refused = Expected::error(401);
    robot.expect("a deleted user cannot log in", &login, refused).await?;
    Ok(())
}

pub(crate) fn draft(user: &User) -> Value {
    let User { id: _, name, email, password } = user;
    json!({ "name": name, "email": email, "password": password })
}

pub(crate) fn question(robot: &Robot, method: &'static str, user: &User) -> Question {
    robot.at_gateway(method, format!("/users/v1/user/{}", user.id))
}

/// An id that is not known yet may be any.
pub(crate) fn is_user(status: u16, user: &User) -> Expected {
    let User { id, name, email, password: _ } = user.clone();
    let words = format!("an id, name {name:?}, e-mail {email}, no password");
    Expected::with(status, words, move |body| {
        let right_id =
            if id.is_empty() { !text(body, "/id").is_empty() } else { text(body, "/id") == id };
        right_id && text(body, "/name") == name && text(body, "/email") == email && is_public(body)
    })
}

fn is_public(user: &Value) -> bool {
    user.as_object().is_some_and(|fields| !fields.keys().any(|field| field.contains("password")))
}
