//! A link's short address as a QR code, drawn as SVG.

use std::fmt::Write;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use headwater_http::args::PathArgs;
use headwater_http::problem::Problem;
use qrcodegen::{QrCode, QrCodeEcc};

use super::lookup::committed;
use super::problems::of_over;
use super::site::Site;
use crate::domain::{Code, Over};
use crate::instance::Instance;

/// Modules of white around the code, which readers need (ISO/IEC 18004).
const QUIET: i32 = 4;

pub(super) async fn draw(
    State(instance): State<Instance>,
    State(site): State<Site>,
    PathArgs(code): PathArgs<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let code = Code::of_path(&code).ok_or_else(|| of_over(Over::Unknown))?;
    let (_, link) = committed(&instance, &code).await?;
    if let Some(over @ (Over::Unknown | Over::Deleted)) = link.over(instance.clock.now()) {
        return Err(of_over(over));
    }
    let short = site.addressed(&headers)?.short(&code);
    let drawn = svg(&short).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], drawn))
}

/// Black modules on white, whatever stands behind it.
///
/// # Errors
///
/// If the text is longer than a QR code can hold, which is 2,331 bytes.
fn svg(text: &str) -> Result<String, qrcodegen::DataTooLong> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium)?;
    let size = code.size() + 2 * QUIET;
    let mut path = String::new();
    for (x, y) in (0..code.size()).flat_map(|y| (0..code.size()).map(move |x| (x, y))) {
        if code.get_module(x, y) {
            let _ = write!(path, "M{},{}h1v1h-1z", x + QUIET, y + QUIET);
        }
    }
    Ok(format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" shape-rendering="crispEdges"><rect width="100%" height="100%" fill="#fff"/><path d="{path}" fill="#000"/></svg>"##
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_with_room_around_it() {
        let drawn = svg("http://127.0.0.1:8080/abcdefgh").unwrap();
        assert!(drawn.starts_with("<svg ") && drawn.contains(r#"viewBox="0 0 37 37""#), "{drawn}");
        assert!(drawn.contains("M4,4h1v1h-1z"), "the corner of the first finder");
        assert!(!drawn.contains("M3,"), "nothing in the quiet zone");
        assert!(svg(&"a".repeat(3_000)).is_err());
    }
}
