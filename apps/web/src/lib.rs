//! What the pages of the apps share, embedded in their binaries: the files of `files/`, served beside a page's own.
//!
//! - `base.css`: the look of text, fields, buttons and notices, in colours that each page names;
//! - `field.js`: a labelled field with its hint and its complaint;
//! - `html.js` and `vendor/`: Preact and htm, as they are published.
//!
//! A page imports them as if they lay in its own folder, and has no file of the same name.

use axum::Router;
use headwater_http::assets::{self, Asset};

/// The files of a page, from the folder `web` of the crate that names them; `index.html` is also the page itself.
///
/// ```text
/// const FILES: &[Asset] = app_web::page! { "index.html" "style.css" "app.js" };
/// ```
#[macro_export]
macro_rules! page {
    ("index.html" $($name:literal)*) => {
        &[
            $crate::file!("web", "/", "index.html"),
            $crate::file!("web", "/index.html", "index.html"),
            $($crate::file!("web", concat!("/", $name), $name)),*
        ]
    };
}

/// A file of a folder of the crate that names it, under a path.
#[doc(hidden)]
#[macro_export]
macro_rules! file {
    ($folder:literal, $path:expr, $name:literal) => {
        ::headwater_http::assets::Asset::new(
            $path,
            $name,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $name)),
        )
    };
}

macro_rules! shared {
    ($($name:literal)*) => {
        &[$(file!("files", concat!("/", $name), $name)),*]
    };
}

const SHARED: &[Asset] = shared! {
    "base.css" "field.js" "html.js" "vendor/htm.js" "vendor/preact.js" "vendor/preact-hooks.js"
};

/// Where the shared files lie in the source, for the tests of pages.
pub const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/files");

/// Serves a page with what it shares with others.
///
/// # Panics
///
/// If it has a file of the same name as one that is shared.
pub fn routes(page: &[Asset]) -> Router {
    assets::routes(page).merge(assets::routes(SHARED))
}
