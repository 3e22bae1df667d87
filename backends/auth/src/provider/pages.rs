//! What people see: a login form, a question, a sentence. Plain HTML that needs no script and allows none.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const STYLE: &str = "\
body{font:1.125rem/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:24rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.5rem}label{display:block;margin-top:1rem;font-weight:600}\
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;border:1px solid #595959;border-radius:.25rem}\
button{font:inherit;font-weight:600;margin-top:1.5rem;padding:.5rem 1.5rem;border:0;border-radius:.25rem;color:#fff;background:#0b57d0}\
input:focus-visible,button:focus-visible{outline:3px solid #0b57d0;outline-offset:2px}\
.problem{border-left:.25rem solid #b3261e;padding-left:.75rem}";

/// The hash that allows our style and no other.
static STYLE_HASH: LazyLock<String> =
    LazyLock::new(|| STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes())));

/// Text that stays text inside of HTML, also inside of an attribute in double quotes.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                other => fmt::Write::write_char(formatter, other)?,
            }
        }
        Ok(())
    }
}

/// One page.
pub(crate) struct Page {
    status: StatusCode,
    title: String,
    /// HTML.
    main: String,
    /// Where a form of the page may lead besides to us: browsers look at redirects, too.
    form_leads_to: Option<String>,
}

/// What the login form needs.
pub(crate) struct LoginForm<'a> {
    /// Where it goes.
    pub(crate) action: &'a str,
    /// What users know the application by.
    pub(crate) client_name: &'a str,
    /// Where the browser goes afterwards, as a Content-Security-Policy names it.
    pub(crate) leads_to: String,
    /// What the cookie has as well.
    pub(crate) csrf: &'a str,
    /// The application's request, which comes back with the form.
    pub(crate) authorization: &'a str,
    /// What is in the field already.
    pub(crate) email: &'a str,
    /// Why the last try did not do.
    pub(crate) problem: Option<&'a str>,
}

impl Page {
    /// A sentence.
    pub(crate) fn sentence(status: StatusCode, title: &str, sentence: &str) -> Self {
        let main = format!("<h1>{}</h1><p>{}</p>", Text(title), Text(sentence));
        Self { status, title: title.to_owned(), main, form_leads_to: None }
    }

    /// A question for email and password.
    pub(crate) fn login(status: StatusCode, form: LoginForm<'_>) -> Self {
        let LoginForm { action, client_name, leads_to, csrf, authorization, email, problem } = form;
        let title = format!("Log in to {client_name}");
        let (problem, invalid) = match problem {
            Some(problem) => (
                format!("<p class=\"problem\" id=\"problem\" role=\"alert\">{}</p>", Text(problem)),
                " aria-describedby=\"problem\"",
            ),
            None => (String::new(), ""),
        };
        // Who has to type the email begins there, who has only the password to type begins with that.
        let (at_email, at_password) =
            if email.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
        let main = format!(
            "<h1>{title}</h1>{problem}<form method=\"post\" action=\"{action}\">\
             <input type=\"hidden\" name=\"csrf\" value=\"{csrf}\">\
             <input type=\"hidden\" name=\"authorization\" value=\"{authorization}\">\
             <label for=\"email\">Email</label>\
             <input id=\"email\" name=\"email\" type=\"email\" autocomplete=\"username\" \
             maxlength=\"254\" required value=\"{email}\"{at_email}{invalid}>\
             <label for=\"password\">Password</label>\
             <input id=\"password\" name=\"password\" type=\"password\" \
             autocomplete=\"current-password\" maxlength=\"256\" required{at_password}{invalid}>\
             <button type=\"submit\">Log in</button></form>",
            title = Text(&title),
            action = Text(action),
            csrf = Text(csrf),
            authorization = Text(authorization),
            email = Text(email),
        );
        Self { status, title, main, form_leads_to: Some(leads_to) }
    }

    /// A question whether to log out. `request` comes back with the form.
    pub(crate) fn logout(
        action: &str,
        csrf: &str,
        request: &str,
        leads_to: Option<String>,
    ) -> Self {
        let main = format!(
            "<h1>Log out?</h1><p>You will have to log in again.</p>\
             <form method=\"post\" action=\"{action}\">\
             <input type=\"hidden\" name=\"csrf\" value=\"{csrf}\">\
             <input type=\"hidden\" name=\"request\" value=\"{request}\">\
             <button type=\"submit\">Log out</button></form>",
            action = Text(action),
            csrf = Text(csrf),
            request = Text(request),
        );
        let title = "Log out?".to_owned();
        Self { status: StatusCode::OK, title, main, form_leads_to: leads_to }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self { status, title, main, form_leads_to } = self;
        let html = format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{}</title><style>{STYLE}</style></head><body><main>{main}</main></body></html>\n",
            Text(&title)
        );
        let form_leads_to = form_leads_to.map(|place| format!(" {place}")).unwrap_or_default();
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; form-action 'self'{form_leads_to}; \
             base-uri 'none'; frame-ancestors 'none'",
            *STYLE_HASH
        );
        let mut response = (status, Html(html)).into_response();
        let headers = response.headers_mut();
        for (name, value) in SECURITY_HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // Without a policy the page would be less safe, so it is not shown then.
        match HeaderValue::try_from(policy) {
            Ok(policy) => headers.insert(header::CONTENT_SECURITY_POLICY, policy),
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        response
    }
}

/// `same-origin`: with `no-referrer` browsers would send our own form with the origin `null`.
const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_stays_text() {
        let evil = "\"><script>alert('x')</script>&";
        let form = LoginForm {
            action: "/authorize/login",
            client_name: evil,
            leads_to: "https://portal.example".to_owned(),
            csrf: evil,
            authorization: evil,
            email: evil,
            problem: Some(evil),
        };
        for page in [
            Page::login(StatusCode::OK, form),
            Page::logout("/end_session", evil, evil, None),
            Page::sentence(StatusCode::OK, evil, evil),
        ] {
            assert!(!page.main.contains("<script"), "{}", page.main);
            assert!(!page.main.contains("\"\"&gt;"), "{}", page.main);
        }
    }

    #[test]
    fn a_page_allows_no_script_and_no_frame() {
        let page = Page::sentence(StatusCode::BAD_REQUEST, "No", "No.").into_response();
        assert_eq!(page.status(), StatusCode::BAD_REQUEST);
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(page.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(page.headers()[header::X_FRAME_OPTIONS], "DENY");
    }
}
