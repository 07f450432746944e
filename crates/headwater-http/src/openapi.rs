//! Routes that describe themselves: one call adds a route and its line in `/openapi.json`.
//!
//! A route added here cannot be missing from the document. Schemas are those of `schemars`, which events use as
//! well, so a type is described once; the document is OpenAPI 3.1, whose schemas are JSON Schema.

use axum::Router;
use axum::body::Body;
use axum::handler::Handler;
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{MethodFilter, get, on};
use bytes::Bytes;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::assets::{entity_tag, has_already};
use crate::codes::{self, Code};

/// Where the document is.
pub const DOCUMENT_PATH: &str = "/openapi.json";

/// What a type is in the document, resolved when the route is added.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

/// What one route takes and answers.
///
/// ```
/// use headwater_http::openapi::Operation;
///
/// #[derive(schemars::JsonSchema)]
/// struct NewOrder { label: String }
///
/// let place = Operation::new("Place an order").command().body::<NewOrder>().answers_nothing(202, "accepted");
/// ```
#[derive(Debug, Default)]
pub struct Operation {
    summary: &'static str,
    description: &'static str,
    body: Option<SchemaOf>,
    query: Option<SchemaOf>,
    headers: Vec<HeaderParameter>,
    answers: Vec<Answer>,
    problems: Vec<&'static Code>,
    has_receipt: bool,
}

#[derive(Debug)]
struct HeaderParameter {
    name: &'static str,
    required: bool,
    description: &'static str,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    description: &'static str,
    content: Option<(&'static str, SchemaOf)>,
}

impl Operation {
    /// An operation with a summary of a few words.
    pub fn new(summary: &'static str) -> Self {
        Self { summary, ..Self::default() }
    }

    /// Says more than the summary.
    #[must_use]
    pub fn description(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Takes a JSON body.
    #[must_use]
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(schema_of::<T>);
        self.problems(&[
            &codes::MALFORMED_JSON,
            &codes::BODY_TOO_LARGE,
            &codes::UNSUPPORTED_MEDIA_TYPE,
            &codes::NOT_AN_OBJECT,
            &codes::UNKNOWN_FIELD,
            &codes::MISSING_FIELD,
            &codes::INVALID_VALUE,
        ])
    }

    /// Takes the fields of a struct as query parameters.
    #[must_use]
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(T::json_schema);
        self.problems(&[&codes::INVALID_PARAMETER])
    }

    /// Takes a request header.
    #[must_use]
    pub fn header(mut self, name: &'static str, required: bool, description: &'static str) -> Self {
        self.headers.push(HeaderParameter { name, required, description });
        self
    }

    /// Sends a command: takes an idempotency key and answers with a receipt.
    #[must_use]
    pub fn command(mut self) -> Self {
        self.has_receipt = true;
        self.header(
            "Idempotency-Key",
            false,
            "The command's id: the same key has one outcome and one effect.",
        )
        .problems(&[
            &codes::INVALID_HEADER,
            &codes::COMMAND_CONFLICT,
            &codes::OVERLOADED,
            &codes::OUTCOME_UNKNOWN,
        ])
    }

    /// Reads a view: takes a receipt to include and a time to wait for it.
    #[must_use]
    pub fn reads_view(self) -> Self {
        self.header("Headwater-After", false, "A receipt that the answer has to include.")
            .header("Prefer", false, "`wait=N`: wait up to N seconds for the receipt; the server bounds it.")
            .problems(&[&codes::INVALID_HEADER, &codes::NOT_YET, &codes::VIEW_BUILDING])
    }

    /// Answers with JSON.
    #[must_use]
    pub fn answers<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, Some(("application/json", schema_of::<T>)))
    }

    /// Answers without a body.
    #[must_use]
    pub fn answers_nothing(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, None)
    }

    /// Answers with server-sent events that carry JSON.
    #[must_use]
    pub fn streams<T: JsonSchema>(self, description: &'static str) -> Self {
        self.header("Last-Event-ID", false, "The last event that the client has seen.").answer(
            200,
            description,
            Some(("text/event-stream", schema_of::<T>)),
        )
    }

    /// Can answer with problems of these codes.
    #[must_use]
    pub fn problems(mut self, problems: &[&'static Code]) -> Self {
        self.problems.extend(problems);
        self
    }

    fn answer(
        mut self,
        status: u16,
        description: &'static str,
        content: Option<(&'static str, SchemaOf)>,
    ) -> Self {
        self.answers.push(Answer { status, description, content });
        self
    }

    fn document(&self, path: &str, schemas: &mut SchemaGenerator) -> Value {
        let mut operation = json!({
            "summary": self.summary,
            "parameters": self.parameters(path, schemas),
            "responses": self.responses(schemas),
        });
        if !self.description.is_empty() {
            operation["description"] = self.description.into();
        }
        if let Some(schema) = self.body {
            let content = json!({"application/json": {"schema": schema(schemas)}});
            operation["requestBody"] = json!({"required": true, "content": content});
        }
        operation
    }

    fn parameters(&self, path: &str, schemas: &mut SchemaGenerator) -> Vec<Value> {
        let in_path = path_parameters(path)
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        let in_headers = self.headers.iter().map(|header| {
            json!({
                "name": header.name, "in": "header", "required": header.required,
                "description": header.description, "schema": {"type": "string"},
            })
        });
        let in_query =
            self.query.map(|schema| query_parameters(schema(schemas).as_value())).unwrap_or_default();
        in_path.chain(in_query).chain(in_headers).collect()
    }

    fn responses(&self, schemas: &mut SchemaGenerator) -> Map<String, Value> {
        let mut responses = Map::new();
        for answer in &self.answers {
            responses.insert(answer.status.to_string(), self.response(answer, schemas));
        }
        for code in &self.problems {
            let response = responses.entry(code.status.to_string()).or_insert_with(|| {
                let schema = json!({"$ref": "#/components/schemas/Problem"});
                json!({"description": "", "content": {"application/problem+json": {"schema": schema}}})
            });
            let told = response["description"].as_str().unwrap_or_default();
            let separator = if told.is_empty() { "" } else { "; " };
            response["description"] = format!("{told}{separator}`{}`: {}", code.name, code.title).into();
        }
        responses
    }

    fn response(&self, answer: &Answer, schemas: &mut SchemaGenerator) -> Value {
        let mut response = json!({"description": answer.description});
        if let Some((kind, schema)) = answer.content {
            response["content"] = json!({kind: {"schema": schema(schemas)}});
        }
        if self.has_receipt {
            response["headers"] = json!({"Headwater-Receipt": {
                "description": "Where the command's events are; give it as Headwater-After to read them.",
                "schema": {"type": "string"},
            }});
        }
        response
    }
}

/// The names between braces; a wildcard's star is not part of its name.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    names.map(|name| name.trim_start_matches('*'))
}

/// The fields of a struct's schema as query parameters.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |(name, schema): (String, Value)| {
        let required = required.contains(&Value::from(name.as_str()));
        json!({"name": name, "in": "query", "required": required, "schema": schema})
    };
    fields.into_iter().map(parameter).collect()
}

/// A router and its document, which grow together.
pub struct Api<S = ()> {
    router: Router<S>,
    info: Value,
    paths: Map<String, Value>,
    schemas: SchemaGenerator,
}

impl<S> std::fmt::Debug for Api<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("info", &self.info).field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// Adds routes of one method each.
macro_rules! methods {
    ($($name:ident $filter:ident;)*) => {$(
        #[doc = concat!("Adds a route for ", stringify!($filter), " requests.")]
        ///
        /// # Panics
        ///
        /// When the path has this method already, or is no path.
        #[must_use]
        pub fn $name<H, T>(self, path: &str, operation: Operation, handler: H) -> Self
        where
            H: Handler<T, S>,
            T: 'static,
        {
            self.describe(path, stringify!($name), &operation).with_router(|router| {
                router.route(path, on(MethodFilter::$filter, handler))
            })
        }
    )*};
}

impl<S: Clone + Send + Sync + 'static> Api<S> {
    /// An interface without routes.
    pub fn new(title: &str, version: &str) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self {
            router: Router::new(),
            info: json!({"title": title, "version": version}),
            paths: Map::new(),
            schemas: settings.into_generator(),
        }
    }

    methods! {
        get GET;
        post POST;
        put PUT;
        patch PATCH;
        delete DELETE;
    }

    /// The document so far.
    pub fn document(&self) -> Value {
        let mut schemas = self.schemas.definitions().clone();
        schemas.insert("Problem".to_owned(), problem_schema());
        json!({"openapi": "3.1.0", "info": self.info, "paths": self.paths, "components": {"schemas": schemas}})
    }

    /// The routes, with the document among them.
    pub fn into_router(self) -> Router<S> {
        let document = Bytes::from(self.document().to_string());
        let tag = entity_tag(&document);
        let answer = move |headers: HeaderMap| async move { document_answer(document, tag, &headers) };
        self.router.route(DOCUMENT_PATH, get(answer))
    }

    fn describe(mut self, path: &str, method: &str, operation: &Operation) -> Self {
        let described = operation.document(path, &mut self.schemas);
        let path = self.paths.entry(path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[method] = described;
        self
    }

    fn with_router(mut self, add: impl FnOnce(Router<S>) -> Router<S>) -> Self {
        self.router = add(self.router);
        self
    }
}

fn document_answer(document: Bytes, tag: HeaderValue, request: &HeaderMap) -> Response<Body> {
    let fresh = has_already(request, &tag);
    let mut response = Response::new(if fresh { Body::empty() } else { Body::from(document) });
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ETAG, tag);
    response
}

fn problem_schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "description": "An error, by RFC 9457.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": text("The kind of problem as a URI reference, which explains it."),
            "title": text("The kind of problem in words."),
            "status": {"type": "integer", "description": "The HTTP status."},
            "code": text("The kind of problem as a stable name."),
            "detail": text("What is particular to this occurrence."),
            "field": text("The offending field, parameter or header."),
            "errors": {
                "type": "array",
                "description": "Every offending field.",
                "items": {
                    "type": "object",
                    "required": ["field", "detail"],
                    "properties": {
                        "field": text("The field."),
                        "code": text("What is wrong with it as a stable name."),
                        "detail": text("What is wrong with it."),
                    },
                },
            },
            "retryAfter": {"type": "integer", "description": "Seconds to wait before trying again."},
        },
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::Request;
    use tower_service::Service;

    use super::*;
    use crate::exact_number::ExactNumber;

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct NewOrder {
        item_label: String,
        item_price: ExactNumber,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Filter {
        customer_id: String,
        price: Option<PriceGroup>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    enum PriceGroup {
        Cheap,
        Expensive,
    }

    fn api() -> Api {
        let nothing = || async {};
        Api::new("ordering", "1")
            .post(
                "/orders",
                Operation::new("Place").command().body::<NewOrder>().answers_nothing(202, "ok"),
                nothing,
            )
            .get(
                "/orders",
                Operation::new("List").reads_view().query::<Filter>().answers::<Vec<NewOrder>>(200, "ok"),
                nothing,
            )
            .get("/orders/{id}/{*rest}", Operation::new("Show").problems(&[&codes::NOT_FOUND]), nothing)
            .get("/stream", Operation::new("Watch").streams::<NewOrder>("changes"), nothing)
    }

    #[test]
    fn every_route_is_described() {
        let document = api().document();
        let paths = document["paths"].as_object().expect("an object");
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/orders", "/orders/{id}/{rest}", "/stream"]);
        let place = &document["paths"]["/orders"]["post"];
        let schema = &place["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema, &json!({"$ref": "#/components/schemas/NewOrder"}));
        assert!(document["components"]["schemas"]["NewOrder"]["properties"]["itemPrice"].is_object());
        assert!(place["responses"]["202"]["headers"]["Headwater-Receipt"].is_object());
        let unfit = place["responses"]["422"]["description"].as_str().expect("text");
        assert!(unfit.contains("`unknown-field`") && unfit.contains("; `missing-field`"), "{unfit}");
        let stream = &document["paths"]["/stream"]["get"]["responses"]["200"]["content"];
        assert!(stream["text/event-stream"].is_object());
    }

    #[test]
    fn parameters_come_from_path_query_and_headers() {
        let document = api().document();
        let named = |operation: &Value, place: &str| -> Vec<(String, bool)> {
            let all = operation["parameters"].as_array().expect("an array").iter();
            let here = all.filter(|parameter| parameter["in"] == place);
            here.map(|p| (p["name"].as_str().expect("text").to_owned(), p["required"] == true)).collect()
        };
        let list = &document["paths"]["/orders"]["get"];
        assert_eq!(named(list, "query"), [("customerId".to_owned(), true), ("price".to_owned(), false)]);
        assert_eq!(
            named(list, "header"),
            [("Headwater-After".to_owned(), false), ("Prefer".to_owned(), false)]
        );
        let show = &document["paths"]["/orders/{id}/{rest}"]["get"];
        assert_eq!(named(show, "path"), [("id".to_owned(), true), ("rest".to_owned(), true)]);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = api().document();
        let text = document.to_string();
        let names =
            text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().expect("a name"));
        let names: Vec<&str> = names.collect();
        assert!(names.contains(&"PriceGroup") && !text.contains("$defs"), "{names:?}");
        for name in names {
            assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
        }
    }

    #[tokio::test]
    async fn the_document_is_a_route_of_its_own() {
        let request = Request::get(DOCUMENT_PATH).body(Body::empty()).expect("valid");
        let response = api().into_router().call(request).await.expect("a router never fails");
        assert!(response.headers().contains_key("etag"));
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("whole");
        let document: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(document["openapi"], "3.1.0");
    }
}
