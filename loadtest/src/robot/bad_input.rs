//! What is wrong is refused with the right status and a reason, and nothing of it is stored.

use serde_json::json;

use crate::robot::news::{Article, draft, is_failure, path};
use crate::robot::promise::{Broken, Expected, Robot, list, text};
use crate::robot::question::Question;
use crate::robot::users::{self, User, is_user};

/// An id of the right form that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";
const NOT_JSON: &str = "{\"email\": ";
/// What strangers may not see of the services, of each kind one; all of them are gone through in gateway/tests/edge.rs.
const INSIDE: [&str; 7] = [
    "/users/v1/dead-letters",
    "/users/v1/metrics",
    "/users/v1/%6Detrics",
    "/news/v1/sports/health",
    "/news/v1/famous/metrics",
    "/recommendation/v1/dead-letters",
    "/auth/v1/openapi.json",
];
/// One more than a title may have.
const TITLE_CHARACTERS: usize = 201;

/// Goes through all of it. `user` and `articles` are there already, and stay as they are.
pub(crate) async fn refuse(
    robot: &mut Robot,
    user: &User,
    articles: &[Article],
) -> Result<(), Broken> {
    let bystander = User {
        id: String::new(),
        name: "Robot".to_owned(),
        email: format!("refused-{}@example.org", robot.run),
        password: user.password.clone(),
    };
    for (promise, question, status) in bad_users(robot, &bystander) {
        let refused = Expected::error(status);
        robot.expect(promise, &question, refused).await?;
    }
    for (promise, question, status) in bad_news(robot, articles) {
        robot.expect(promise, &question, is_failure(status)).await?;
    }
    for path in INSIDE {
        let question = robot.at_gateway("GET", path);
        robot.expect(&format!("{path} stays inside"), &question, Expected::status(404)).await?;
    }
    nothing_is_stored(robot, &bystander).await
}

type Case = (&'static str, Question, u16);

fn bad_users(robot: &Robot, bystander: &User) -> Vec<Case> {
    let create = || robot.at_gateway("POST", "/users/v1/user");
    let get = |path: &str| robot.at_gateway("GET", path);
    let mut without_password = users::draft(bystander);
    without_password["password"].take();
    let mut no_email = users::draft(bystander);
    no_email["email"] = json!("nobody");
    let mut long = users::draft(bystander);
    long["name"] = json!("x".repeat(32 * 1024));
    let form = "grant_type=authorization_code&code=x&client_id=nobody&code_verifier=x";
    let token = robot.at_gateway("POST", "/auth/v1/token");
    vec![
        ("a user that is no JSON is refused", create().text("application/json", NOT_JSON), 400),
        ("a user as another type is refused", create().text("text/plain", "{}"), 415),
        ("a user without a password is refused", create().json(&without_password), 400),
        ("an e-mail that is none is refused", create().json(&no_email), 400),
        ("a user that is too long is refused", create().json(&long), 413),
        ("an unknown user is not found", get(&format!("/users/v1/user/{NOBODY}")), 404),
        ("an id that is none is not found", get("/users/v1/user/1"), 404),
        ("a list of 0 users is refused", get("/users/v1/users?count=0"), 400),
        ("a list of 10,000 users is refused", get("/users/v1/users?count=10000"), 400),
        ("nobody's labels are not found", get(&format!("/recommendation/v1/user/{NOBODY}")), 404),
        (
            "a list of 10,000 labels is refused",
            get(&format!("/recommendation/v1/user/{NOBODY}?count=10000")),
            400,
        ),
        (
            "a login that is no JSON is refused",
            robot.at_gateway("POST", "/auth/v1/login").text("application/json", NOT_JSON),
            400,
        ),
        (
            "an unknown client gets no token",
            token.text("application/x-www-form-urlencoded", form),
            401,
        ),
    ]
}

fn bad_news(robot: &Robot, articles: &[Article]) -> Vec<Case> {
    let refused = |theme| Article {
        theme,
        id: String::new(),
        label: "refused".to_owned(),
        title: refused_title(robot),
    };
    let mut cases = Vec::new();
    for Article { theme, .. } in articles {
        let post = || robot.at_gateway("POST", path(theme));
        let get = |rest: &str| robot.at_gateway("GET", format!("{}/{rest}", path(theme)));
        let mut long = draft(&refused(theme));
        let padding = "x".repeat(TITLE_CHARACTERS - refused_title(robot).chars().count());
        long["title"] = json!(refused_title(robot) + &padding);
        let mut unknown = draft(&refused(theme));
        unknown["id"] = json!(NOBODY);
        unknown["version"] = json!(1);
        let put = robot.at_gateway("PUT", path(theme)).json(&unknown);
        let no_json = post().text("application/json", NOT_JSON);
        cases.extend([
            ("an article that is no JSON is refused", no_json, 400),
            ("a title of 201 characters is refused", post().json(&long), 400),
            ("a version of an unknown article is refused", put, 404),
            ("an unknown article is not found", get(NOBODY), 404),
            ("an id that is none is not found", get("1"), 404),
            ("page 0 is refused", get("0/10"), 400),
            ("a page of 10,000 articles is refused", get("1/10000"), 400),
        ]);
    }
    let weather = draft(&refused("weather"));
    let post = robot.at_gateway("POST", path("weather")).json(&weather);
    cases.push(("an article of an unknown type is refused", post, 400));
    let get = robot.at_gateway("GET", format!("{}/{NOBODY}", path("weather")));
    cases.push(("an unknown type is refused", get, 400));
    cases
}

fn refused_title(robot: &Robot) -> String {
    format!("Refused {}", robot.run)
}

/// Nobody has the e-mail that was refused, and no page has the title.
async fn nothing_is_stored(robot: &mut Robot, bystander: &User) -> Result<(), Broken> {
    let create = robot.at_gateway("POST", "/users/v1/user").json(&users::draft(bystander));
    let promise = "nobody got the e-mail of a user who was refused";
    let answer = robot.expect(promise, &create, is_user(201, bystander)).await?;
    let id = text(&answer, "/id").to_owned();
    let delete = users::question(robot, "DELETE", &User { id, ..bystander.clone() });
    robot.expect("and gives it back", &delete, Expected::status(204)).await?;
    for theme in crate::robot::news::THEMES {
        let page = robot.at_gateway("GET", format!("{}/1/20", path(theme)));
        let start = refused_title(robot);
        let free = Expected::with(200, "no article that was refused", move |body| {
            list(body, "/news").iter().all(|it| !text(it, "/title").starts_with(&start))
        });
        let promise = format!("the {theme} page has nothing that was refused");
        robot.expect(&promise, &page, free).await?;
    }
    Ok(())
}
