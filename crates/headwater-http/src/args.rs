//! Parameters of the URL, read as strictly as bodies, with the offending one named.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, RawPathParams, path::ErrorKind};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::misfit::Misfit;
use crate::problem::Problem;
use crate::words;

/// The query string, read into a value.
///
/// A type that denies unknown fields refuses unknown parameters, with a suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryArgs<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for QueryArgs<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Reads a query string into a value.
///
/// # Errors
///
/// A problem that names the offending parameter.
pub fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        Misfit::from_serde(&error.path().to_string(), &error.inner().to_string()).into_parameter_problem()
    })
}

/// The parameters of the path, read into a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathArgs<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathArgs<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(args)) => Ok(Self(args)),
            Err(rejection) => Err(path_problem(&rejection, only_name(parts, state).await)),
        }
    }
}

/// The name of the path's parameter where there is one, for axum names it only among several.
async fn only_name<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    let mut names = params.iter().map(|(name, _)| name.to_owned());
    let first = names.next();
    first.filter(|_| names.next().is_none())
}

fn path_problem(rejection: &PathRejection, only_name: Option<String>) -> Problem {
    let PathRejection::FailedToDeserializePathParams(failure) = rejection else {
        return Problem::internal(rejection);
    };
    let (field, complaint) = match failure.kind() {
        ErrorKind::ParseErrorAtKey { key, value, expected_type } => {
            (Some(key), words::of_text(expected_type, value))
        }
        ErrorKind::ParseError { value, expected_type }
        | ErrorKind::ParseErrorAtIndex { value, expected_type, .. } => {
            (None, words::of_text(expected_type, value))
        }
        ErrorKind::InvalidUtf8InPathParam { key } => (Some(key), "must be UTF-8, percent-encoded".to_owned()),
        ErrorKind::DeserializeError { key, message, .. } => (Some(key), in_words(message)),
        ErrorKind::Message(message) => (None, in_words(message)),
        // What the handler asks for is not what its path has.
        _ => return Problem::internal(rejection),
    };
    let field = field.cloned().or(only_name).unwrap_or_default();
    Misfit::value(&field, complaint).into_parameter_problem()
}

fn in_words(message: &str) -> String {
    words::of_message(message).unwrap_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Filter {
        customer_id: String,
        limit: Option<u16>,
    }

    #[test]
    fn parameters_are_read() {
        let filter: Filter = parse_query("customerId=a%20b&limit=10").expect("it fits");
        assert_eq!((filter.customer_id.as_str(), filter.limit), ("a b", Some(10)));
    }

    #[test]
    fn the_parameter_that_does_not_fit_is_named() {
        let cases = [
            ("", "customerId", "missing parameter `customerId`"),
            ("customerId=a&limit=many", "limit", "limit must be a whole number"),
            ("customerId=a&limit=65536", "limit", "limit must be a smaller number"),
            ("customerId=a&limits=5", "limits", "did you mean `limit`?"),
            ("customerId=a&customerId=b", "customerId", "duplicate parameter"),
        ];
        for (query, field, detail) in cases {
            let problem = parse_query::<Filter>(query).expect_err(query);
            assert_eq!(
                (problem.code().name, problem.offending_field()),
                ("invalid-parameter", Some(field)),
                "{query}"
            );
            assert!(problem.detail().contains(detail), "{query}: {}", problem.detail());
        }
    }
}
