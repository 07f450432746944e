//! The stable codes of every problem this crate can answer with.
//!
//! A code is part of the interface: once released it keeps its meaning and its status. Applications add their
//! own as constants of the same type, so that one page (`docs/http.md` for these) can list all of them.

/// One kind of problem: its stable name, status, title and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The name clients compare, in kebab-case.
    pub name: &'static str,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// A short summary for people, the same for every occurrence.
    pub title: &'static str,
    /// What whoever receives it can do.
    pub remedy: &'static str,
}

impl Code {
    /// The problem type's URI reference, which every server of this crate can explain at that path.
    pub fn type_uri(&self) -> String {
        format!("{TYPE_PATH}/{}", self.name)
    }
}

/// Where the explanations of problem types live.
pub const TYPE_PATH: &str = "/problems";

/// Declares the codes once: as constants, and as the list that documentation and tests read.
macro_rules! codes {
    ($($constant:ident = $status:literal $name:literal, $title:literal, $remedy:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "` (", stringify!($status), "): ", $title, ".")]
            pub const $constant: Code = Code { name: $name, status: $status, title: $title, remedy: $remedy };
        )*
        /// Every code of this crate, by status.
        pub const ALL: &[&Code] = &[$(&$constant),*];
    };
}

codes! {
    BAD_REQUEST = 400 "bad-request", "The request cannot be understood",
        "Correct the request as the detail says.";
    MALFORMED_JSON = 400 "malformed-json", "The body is not JSON",
        "Send one complete JSON value; the detail names the line and column.";
    TRUNCATED_JSON = 400 "truncated-json", "The JSON body ends too early",
        "Send the whole body; check Content-Length.";
    JSON_TOO_DEEP = 400 "json-too-deep", "The JSON body is nested too deeply",
        "Nest arrays and objects less deeply.";
    BODY_UNREADABLE = 400 "body-unreadable", "The body could not be read",
        "Send the request again.";
    INVALID_PARAMETER = 400 "invalid-parameter", "A parameter of the URL is invalid",
        "Correct the parameter named by the field.";
    INVALID_HEADER = 400 "invalid-header", "A request header is invalid",
        "Correct the header named by the field.";
    UNAUTHENTICATED = 401 "unauthenticated", "Credentials are missing or wrong",
        "Send valid credentials.";
    FORBIDDEN = 403 "forbidden", "This is not allowed",
        "Ask for the permission, or do not repeat the request.";
    NOT_FOUND = 404 "not-found", "There is nothing at this address",
        "Check the path; /openapi.json lists what there is.";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed", "This address does not take this method",
        "Use one of the methods in the Allow header.";
    NOT_ACCEPTABLE = 406 "not-acceptable", "No representation matches Accept",
        "Accept one of the types in the documentation.";
    REQUEST_TIMEOUT = 408 "request-timeout", "The request did not arrive in time",
        "Send the whole request without long pauses.";
    CONFLICT = 409 "conflict", "The request conflicts with the present state",
        "Read the present state, then decide again.";
    COMMAND_CONFLICT = 409 "command-conflict", "This command id was used for another content",
        "Use a new id for a new command; repeat an id only with the same content.";
    VERSION_CONFLICT = 409 "version-conflict", "The aggregate is at another version than expected",
        "Read the aggregate again, then decide again.";
    COMMAND_EXPIRED = 410 "command-expired", "The command is older than outcomes are kept",
        "Look whether it took effect before sending it under a new id.";
    BODY_TOO_LARGE = 413 "body-too-large", "The body is larger than this server takes",
        "Send a smaller body; the detail names the limit.";
    URI_TOO_LONG = 414 "uri-too-long", "The URL is too long",
        "Send a shorter URL.";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type", "The body is of another media type than this address takes",
        "Send the media type that the detail names in Content-Type.";
    NOT_THIS_INSTANCE = 421 "not-this-instance", "This instance does not run what is asked for",
        "Ask an instance of another role: `query` answers questions, `command` takes commands, `all` does both.";
    INVALID_BODY = 422 "invalid-body", "The body does not fit",
        "Correct the fields named in errors.";
    NOT_AN_OBJECT = 422 "not-an-object", "The body is no JSON object",
        "Send one object with named fields, in braces.";
    UNKNOWN_FIELD = 422 "unknown-field", "The body has a field that is not known here",
        "Remove or rename the field; the detail suggests a name where one is near.";
    MISSING_FIELD = 422 "missing-field", "The body lacks a field",
        "Add the field.";
    DUPLICATE_FIELD = 422 "duplicate-field", "The body has a field twice",
        "Send the field once.";
    INVALID_VALUE = 422 "invalid-value", "A field has a value that does not fit",
        "Correct the value of the field.";
    REJECTED = 422 "rejected", "The command was rejected",
        "The detail says why; the same command will be rejected again.";
    TOO_MANY_REQUESTS = 429 "too-many-requests", "Too many requests",
        "Wait as long as Retry-After says.";
    HEADERS_TOO_LARGE = 431 "headers-too-large", "The request's headers are too large",
        "Send fewer or shorter headers.";
    INTERNAL = 500 "internal", "The server failed",
        "Report it with the trace id; commands may be repeated under the same id.";
    COMMAND_PANICKED = 500 "command-panicked", "The command made the domain's code panic",
        "Report it with the trace id; nothing was written.";
    NOT_IMPLEMENTED = 501 "not-implemented", "This is not implemented",
        "Do not repeat the request.";
    UNAVAILABLE = 503 "unavailable", "The server cannot answer now",
        "Try again after Retry-After.";
    OVERLOADED = 503 "overloaded", "The server has more work than it can take",
        "Try again after Retry-After, under the same idempotency key.";
    TOO_MANY_CONNECTIONS = 503 "too-many-connections", "Every connection of this server is at work",
        "Try again after Retry-After.";
    STOPPING = 503 "stopping", "The server is stopping",
        "Try again, at another instance if there is one.";
    OUTCOME_UNKNOWN = 503 "outcome-unknown", "It is not known whether the command took effect",
        "Send the same command again under the same idempotency key: it takes effect at most once.";
    NOT_YET = 503 "not-yet", "The view has not reached the receipt",
        "Try again after Retry-After.";
    VIEW_BUILDING = 503 "view-building", "The view is being built",
        "Try again after Retry-After; the detail tells the progress.";
    GATEWAY_TIMEOUT = 504 "gateway-timeout", "Another instance did not answer in time",
        "Try again; a command under the same idempotency key.";
    STORAGE_FULL = 507 "storage-full", "There is no space left to store",
        "Free space on the server's disk; nothing was acknowledged.";
}

/// The code that stands for a bare status.
pub fn for_status(status: u16) -> &'static Code {
    const FIRST_MEANING: [&Code; 17] = [
        &BAD_REQUEST,
        &UNAUTHENTICATED,
        &FORBIDDEN,
        &NOT_FOUND,
        &METHOD_NOT_ALLOWED,
        &NOT_ACCEPTABLE,
        &REQUEST_TIMEOUT,
        &CONFLICT,
        &BODY_TOO_LARGE,
        &URI_TOO_LONG,
        &UNSUPPORTED_MEDIA_TYPE,
        &INVALID_BODY,
        &TOO_MANY_REQUESTS,
        &HEADERS_TOO_LARGE,
        &NOT_IMPLEMENTED,
        &UNAVAILABLE,
        &GATEWAY_TIMEOUT,
    ];
    let exact = FIRST_MEANING.iter().find(|code| code.status == status);
    exact.copied().unwrap_or(if status < 500 { &BAD_REQUEST } else { &INTERNAL })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_kebab_case_and_unique() {
        let mut seen = HashSet::new();
        for code in ALL {
            assert!(seen.insert(code.name), "{} is there twice", code.name);
            assert!(code.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", code.name);
            assert!((400..600).contains(&code.status), "{} is no error", code.name);
        }
    }

    #[test]
    fn the_page_lists_every_code_as_it_is() {
        let page = include_str!("../../../docs/http.md");
        for code in ALL {
            let row = format!("| `{}` | {} | {} | {} |", code.name, code.status, code.title, code.remedy);
            assert!(page.contains(&row), "docs/http.md lacks: {row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 3);
        assert_eq!(rows.count(), ALL.len(), "docs/http.md lists a code that is not there");
    }

    #[test]
    fn a_bare_status_has_a_code() {
        for (status, name) in
            [(404, "not-found"), (418, "bad-request"), (503, "unavailable"), (599, "internal")]
        {
            assert_eq!(for_status(status).name, name);
        }
    }
}
