//! Forms of the page: taken only with the token that the page put into them.

use super::api::Problem;
use super::{Office, Store};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A form that a page of ours showed: `application/x-www-form-urlencoded`, with [`TOKEN_FIELD`] among its fields.
#[derive(Debug)]
pub struct Form<T>(pub T);

#[derive(Deserialize)]
struct Stamped<T> {
    form_token: String,
    #[serde(flatten)]
    fields: T,
}

impl<T: DeserializeOwned, S: Store> FromRequest<Arc<Office<S>>> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, office: &Arc<Office<S>>) -> Result<Self, Problem> {
        let axum::Form(form) = axum::Form::<Stamped<T>>::from_request(request, office).await.map_err(|fault| {
            Problem::new(fault.status(), "form", fault.body_text(), "the fields of the form on this page, as application/x-www-form-urlencoded")
        })?;
        if office.forms.is_good(&form.form_token, office.life.standing().now) {
            return Ok(Self(form.fields));
        }
        Err(Problem::new(StatusCode::FORBIDDEN, "form_token", "this form was not shown by this relay, or too long ago", "the page loaded anew"))
    }
}

/// The hidden field of every form: its value is [`FormKey::token`](super::guard::FormKey::token).
pub const TOKEN_FIELD: &str = "form_token";
