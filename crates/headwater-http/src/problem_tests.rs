use axum::body::to_bytes;

use super::*;

async fn json_of(response: Response<Body>) -> Value {
    let body = to_bytes(response.into_body(), 1 << 16).await.expect("the body is whole");
    serde_json::from_slice(&body).expect("the body is JSON")
}

#[tokio::test]
async fn a_problem_says_everything_it_was_given() {
    let problem = Problem::new(&codes::VERSION_CONFLICT, "expected 3, is 5")
        .errors(vec![FieldError::new("lines[2].price", "is negative")])
        .retry_after(Duration::from_millis(1_200))
        .member("version", 5)
        .member("status", "shadowed");
    let response = problem.into_response();
    assert_eq!(response.status(), 409);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["retry-after"], "2");
    let expected = serde_json::json!({
        "type": "/problems/version-conflict",
        "title": "The aggregate is at another version than expected",
        "status": 409,
        "code": "version-conflict",
        "detail": "expected 3, is 5",
        "field": "lines[2].price",
        "errors": [{"field": "lines[2].price", "detail": "is negative"}],
        "retryAfter": 2,
        "version": 5,
    });
    assert_eq!(json_of(response).await, expected);
}

#[tokio::test]
async fn the_one_offending_field_is_among_the_errors() {
    let one = Problem::new(&codes::INVALID_PARAMETER, "limit must be 1 to 200").field("limit");
    let told = json_of(one.into_response()).await;
    let error = serde_json::json!({"field": "limit", "code": "invalid-parameter", "detail": "limit must be 1 to 200"});
    assert_eq!((&told["field"], &told["errors"]), (&"limit".into(), &serde_json::json!([error])));
    let none = json_of(Problem::new(&codes::NOT_FOUND, "nothing").into_response()).await;
    assert_eq!((none.get("field"), none.get("errors")), (None, None));
}

#[tokio::test]
async fn a_bare_error_becomes_a_problem_and_keeps_its_headers() {
    let bare =
        Response::builder().status(405).header("allow", "GET,HEAD").body(Body::empty()).expect("valid");
    let response = of_bare_error(bare);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert_eq!(json_of(response).await["code"], "method-not-allowed");
}

#[tokio::test]
async fn an_error_of_any_type_with_an_empty_body_becomes_a_problem() {
    let empty = (StatusCode::NOT_FOUND, [("content-type", "text/html")], "").into_response();
    assert_eq!(json_of(of_bare_error(empty)).await["code"], "not-found");
}

#[tokio::test]
async fn plain_text_becomes_the_detail_and_the_status_stays() {
    let response = of_bare_error((StatusCode::IM_A_TEAPOT, "short and stout").into_response());
    assert_eq!(response.status(), 418);
    let json = json_of(response).await;
    assert_eq!((&json["detail"], &json["status"]), (&Value::from("short and stout"), &Value::from(418)));
}

#[tokio::test]
async fn documents_and_successes_pass_unchanged() {
    let html = (StatusCode::NOT_FOUND, [("content-type", "text/html")], "<p>gone</p>").into_response();
    let of_head = [("content-type", "text/html"), ("content-length", "11")];
    let of_head = (StatusCode::NOT_FOUND, of_head, Body::empty()).into_response();
    for (response, text) in [(html, "<p>gone</p>"), (of_head, ""), ("fine".into_response(), "fine")] {
        let body = to_bytes(of_bare_error(response).into_body(), 1 << 16).await.expect("the body is whole");
        assert_eq!(body, text);
    }
}
